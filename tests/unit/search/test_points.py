import numpy as np
import pytest
from toy import ToySketch

from mschedx.search.history import History
from mschedx.search.moves import mates, neighbours
from mschedx.search.points import Points, SketchSet, genes
from mschedx.search.pool import sample_new


@pytest.fixture(scope="module")
def space():
    return SketchSet([ToySketch(), ToySketch(m=12, n=10)])


def test_points_of_different_sketches_never_share_a_code(space):
    config = np.ones((1, 8), dtype=np.int64)
    first, second = space.lift(0, config), space.lift(1, config)
    assert first.codes() != second.codes()
    assert len(Points.concatenate([first, second, first]).distinct()) == 2
    assert len(first.distinct(without=set(first.codes()))) == 0


def test_distinct_keeps_the_first_in_order(space):
    points = space.sample(50, np.random.default_rng(0))
    doubled = Points.concatenate([points, points])
    assert doubled.distinct().codes() == list(dict.fromkeys(points.codes()))


def test_points_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"expected sketch \[n\] and configs \[n, W\]"):
        Points(np.zeros(2, np.int64), np.zeros((3, 4), np.int64))


def test_no_sketches_are_refused():
    with pytest.raises(ValueError, match="at least one sketch"):
        SketchSet([])


def test_every_sketch_is_of_one_design_space():
    sketches = [ToySketch() for _ in range(3)]
    space = SketchSet(sketches, [4, 1, 4])
    assert space.spaces.tolist() == [1, 4]
    assert [own.tolist() for own in space.by_space] == [[1], [0, 2]]
    with pytest.raises(ValueError, match="expected 3 design spaces, one a sketch, got 2"):
        SketchSet(sketches, [0, 1])


def test_samples_are_shared_equally_between_sketches(space):
    points = space.sample(101, np.random.default_rng(0))
    assert sorted(np.bincount(points.sketch)) == [50, 51]
    assert space.is_valid(points).all()


def test_a_pair_of_two_sketches_is_refused(space):
    rng = np.random.default_rng(0)
    points = space.sample(2, rng)
    with pytest.raises(ValueError, match="one sketch"):
        space.recombine(
            points, points.take(np.array([1, 0])), np.zeros_like(points.configs, bool), rng
        )


def test_mates_come_from_the_chosen_and_from_one_sketch(space):
    rng = np.random.default_rng(0)
    points = space.sample(60, rng)
    chosen = rng.choice(60, size=20, replace=False)
    pairs = mates(points, chosen, 500, rng)
    assert set(pairs.ravel()) <= set(chosen)
    assert np.array_equal(points.sketch[pairs[:, 0]], points.sketch[pairs[:, 1]])


def test_a_gene_is_an_instruction_with_a_choice():
    sketch = ToySketch(unroll=(16,))
    assert [columns.tolist() for columns in genes(sketch.decisions)] == [[0, 1, 2], [3, 4, 5], [7]]


def test_neighbours_are_valid_and_differ_in_one_gene(space):
    rng = np.random.default_rng(0)
    for parent in space.sample(6, rng).codes():
        row = np.frombuffer(parent, dtype=np.int64)
        s, config = int(row[0]), row[1:]
        parents = space.lift(s, np.repeat(config[None], 100, axis=0))
        moved = neighbours(space, parents, rng)
        assert len(moved) > 20
        assert space.is_valid(moved).all()
        groups = space.genes[s]
        for child in moved.configs:
            assert sum((child[c] != config[c]).any() for c in groups) == 1


def test_small_spaces_are_sampled_to_the_last_point():
    space = SketchSet([ToySketch(m=4, n=4), ToySketch(m=2, n=2)])
    total = sum(sketch.count() for sketch in space.sketches)
    rng = np.random.default_rng(0)
    assert len(sample_new(total + 10, space, set(), rng)) == total
    most = sample_new(total - 1, space, set(), rng)
    last = sample_new(5, space, set(most.codes()), rng)
    assert len(last) == 1
    assert not set(last.codes()) & set(most.codes())


def test_history_orders_what_ran_and_refuses_nonsense(space):
    rng = np.random.default_rng(0)
    history = History.of(space)
    assert history.best_s == np.inf
    points = space.sample(4, rng).distinct()
    history.add(points, np.array([3.0, np.inf, 1.0, 2.0]))
    assert history.best(10).codes() == [points.codes()[i] for i in (2, 3, 0)]
    assert history.best_s == 1.0
    assert history.tried == set(points.codes())
    for wrong in (np.array([0.0]), np.array([np.nan]), np.array([-1.0])):
        with pytest.raises(ValueError, match="latencies > 0"):
            history.add(points.take(np.array([0])), wrong)
    with pytest.raises(ValueError, match="expected 4 latencies, got 1"):
        history.add(points, np.array([1.0]))
