"""Scores that measured errors correct, and batches by them."""

from __future__ import annotations

import numpy as np
import pytest
from first_guess import FirstGuess, guess
from toy import ToySketch

from mschedx.search.blend import BlendedScorer
from mschedx.search.corrected import CorrectedScorer, believed
from mschedx.search.history import History
from mschedx.search.points import SketchSet
from mschedx.search.pool import Scored
from mschedx.search.scoring import ArrayScorer


@pytest.fixture
def space():
    return SketchSet([ToySketch(), ToySketch()])


def corrected(space, latency_s, trials=24):
    """Of a guess that is blind to one of two sketches being slow, and its points."""
    history = History.of(space)
    rng = np.random.default_rng(0)
    points = space.sample(4 * trials, rng).distinct()
    points = points.take(rng.permutation(len(points))[:trials])
    history.add(points, latency_s(points))
    return CorrectedScorer(ArrayScorer(FirstGuess(), space), space, history), history


def two_opinions(space):
    """A draft that has everything upside down, and a model that has all the say when verifying."""
    return BlendedScorer(*(ArrayScorer(FirstGuess(s), space) for s in (-1.0, 1.0)), share=1.0)


def slow_first(points):
    """The first sketch is ten times as slow as it is guessed to be."""
    return 1e-6 * np.where(points.sketch == 0, 10.0, 1.0) * np.exp(-guess(points.configs) / 500)


def test_what_a_score_does_not_see_corrects_it(space):
    scorer, history = corrected(space, slow_first)
    pool = space.sample(200, np.random.default_rng(1)).distinct({*history.points.codes()})
    plain = ArrayScorer(FirstGuess(), space).score(pool)
    found = scorer.score(pool)

    def shares(scores):
        return (pool.sketch[np.argsort(-scores)[:30]] == 1).mean()

    assert shares(plain) < 0.8 < shares(found) == 1
    right = np.argsort(np.argsort(-np.log(slow_first(pool))))
    assert np.corrcoef(right, np.argsort(np.argsort(found)))[0, 1] > 0.9


def test_failed_trials_say_nothing(space):
    def some_fail(points):
        return np.where(np.arange(len(points)) % 3 == 0, np.inf, slow_first(points))

    scorer, _ = corrected(space, some_fail)
    assert np.isfinite(scorer.score(space.sample(20, np.random.default_rng(1)))).all()


def test_a_batch_is_of_the_best_and_each_comes_once(space):
    scorer, history = corrected(space, slow_first)
    pool = space.sample(900, np.random.default_rng(1)).distinct({*history.points.codes()})
    found = Scored.by(scorer, pool)
    batch = scorer.batch(found, 10, np.random.default_rng(2))
    assert len({*batch.tolist()}) == 10
    assert (found.points.sketch[batch] == 1).all()
    assert found.scores[batch].min() > np.median(found.scores)
    assert len(scorer.batch(found.take(np.arange(4)), 10, np.random.default_rng(2))) == 4


def test_new_trials_are_fitted_anew(space):
    scorer, history = corrected(space, slow_first)
    pool = space.sample(50, np.random.default_rng(1))
    before = scorer.score(pool)
    more = pool.take(np.arange(8)).distinct({*history.points.codes()})
    history.add(more, 100 * slow_first(more))
    scorer.learn(history)
    after = scorer.score(pool)
    assert after[: len(more)].mean() < before[: len(more)].mean()


def test_the_fastest_of_many_trials_are_looked_at():
    space = SketchSet([ToySketch(m=64, n=96)])
    points = space.sample(3000, np.random.default_rng(0)).distinct().take(np.arange(400))
    history = History.of(space)
    history.add(points, np.linspace(2e-3, 1e-3, 400))
    scorer = CorrectedScorer(ArrayScorer(FirstGuess(), space), space, history)
    scorer.score(space.sample(20, np.random.default_rng(1)))
    (fit,) = scorer._fits
    assert {*fit.process.points.codes()} == {*points.take(np.arange(144, 400)).codes()}
    assert fit.process.level == pytest.approx(-np.log(history.latency_s[144:]).mean())


def test_it_has_no_slope(space):
    scorer, _ = corrected(space, slow_first)
    assert not scorer.differentiable
    with pytest.raises(TypeError, match="no gradient"):
        scorer.relaxed_score(0, None)


def test_an_opinion_that_explains_what_was_measured_is_believed(space):
    """One of them has everything upside down."""

    def as_guessed(points):
        return 1e-6 * np.exp(-guess(points.configs) / 15)

    _, history = corrected(space, as_guessed, trials=40)
    scorer = CorrectedScorer(two_opinions(space), space, history)
    pool = space.sample(200, np.random.default_rng(1)).distinct({*history.points.codes()})
    found = scorer.score(pool)
    assert [fit.belief for fit in scorer._fits] == pytest.approx([0.125, 0.875], abs=0.01)
    alone = CorrectedScorer(ArrayScorer(FirstGuess(), space), space, history)
    assert np.corrcoef(found, alone.score(pool))[0, 1] > 0.95


def test_beliefs_follow_from_likelihoods():
    assert believed(np.array([-7.0])) == pytest.approx([1.0])
    assert believed(np.array([-7.0, -7.0])) == pytest.approx([0.5, 0.5])
    assert believed(np.array([-900.0, 0.0])) == pytest.approx([0.125, 0.875])
    assert believed(np.log([1.0, 3.0])) == pytest.approx([0.125 + 0.75 / 4, 0.125 + 0.75 * 3 / 4])


def test_before_anything_is_measured_each_opinion_has_its_best_in_a_batch(space):
    scorer = CorrectedScorer(two_opinions(space), space, History.of(space))
    pool = space.sample(300, np.random.default_rng(1)).distinct()
    found = Scored.by(scorer, pool)
    batch = scorer.batch(found, 6, np.random.default_rng(2))
    chosen = guess(pool.configs)[batch]
    everything = guess(pool.configs)
    assert chosen.min() < np.quantile(everything, 0.1) < np.quantile(everything, 0.9) < chosen.max()
