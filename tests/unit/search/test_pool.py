import numpy as np
import pytest
from toy import ToySketch

from mschedx.search.points import Points, SketchSet
from mschedx.search.pool import Scored, gather, thinned


@pytest.fixture(scope="module")
def space():
    return SketchSet([ToySketch(), ToySketch(m=12, n=10)])


def test_gathering_keeps_the_first_of_equal_points(space):
    points = space.sample(30, np.random.default_rng(0)).distinct()
    again = gather(points, space.empty(), points.take(np.arange(5)))
    assert again.codes() == points.codes()


def test_of_equal_points_the_first_score_counts(space):
    points = space.sample(30, np.random.default_rng(0)).distinct()
    half = points.take(np.arange(10))
    merged = Scored(half, np.ones(10)).merged(Scored(points, np.arange(len(points)) + 2.0))
    assert merged.points.codes() == points.codes()
    assert merged.scores.tolist() == [1.0] * 10 + [i + 2.0 for i in range(10, len(points))]
    assert merged.best(2).scores.tolist() == [len(points) + 1.0, len(points)]


def test_untried_points_are_filled_up_with_samples_no_better_than_the_worst(space):
    rng = np.random.default_rng(0)
    points = space.sample(20, rng).distinct()
    codes = points.codes()
    left = Scored(points, np.arange(len(points)) + 5.0).untried(set(codes[:12]))
    assert left.points.codes() == codes[12:]
    filled = left.filled(40, space, set(codes[:12]), rng)
    assert len(filled) == len(set(filled.points.codes())) == 40
    assert not set(filled.points.codes()) & set(codes[:12])
    assert (filled.scores[len(left) :] == 0.0).all()
    below = Scored(left.points, left.scores - 20.0).filled(40, space, set(), rng)
    assert (below.scores[len(left) :] == -3.0).all()
    assert left.filled(3, space, set(), rng) is left


def test_thinning_keeps_the_order(space):
    points = space.sample(50, np.random.default_rng(0)).distinct()
    codes = points.codes()
    kept = [codes.index(code) for code in thinned(points, 10, np.random.default_rng(1)).codes()]
    assert kept == sorted(kept)
    assert len(kept) == 10
    assert len(thinned(points, 99, np.random.default_rng(1))) == len(points)


def test_scores_that_are_not_one_per_point_are_refused(space):
    points = Points.concatenate([space.sample(3, np.random.default_rng(0))])
    with pytest.raises(ValueError, match=r"expected 3 scores, one per point, got \(2,\)"):
        Scored(points, np.ones(2))
