"""What measured configs say of those like them, against the formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
from toy import ToySketch

from mschedx.search.error_process import SLOPE, SLOPE_DEVIATION, ErrorProcess
from mschedx.search.expected_best import distances
from mschedx.search.points import SketchSet

NOISE, LEVEL_DEVIATION, SKETCH_DEVIATION = 0.03, 3.0, 0.2


@pytest.fixture
def space():
    return SketchSet([ToySketch(), ToySketch()])


def some(space, n, seed=0):
    """Points, standardised scores, and latencies that scores explain but for errors of 0.3."""
    rng = np.random.default_rng(seed)
    points = space.sample(4 * n + 4, rng).distinct()
    points = points.take(rng.permutation(len(points))[:n])
    scores = rng.standard_normal(n)
    return points, scores, np.exp(-0.5 * scores + 0.3 * rng.standard_normal(n) - 7)


def mean(space, process, points, scores):
    return process.mean(points, scores, distances(process.points, points, space))


def draws(space, process, points, scores, count):
    apart, among = (distances(one, points, space) for one in (process.points, points))
    return process.draws(points, scores, apart, among, count, np.random.default_rng(0))


def by_definition(space, process, points, scores):
    """Mean and covariance of ln(1 / seconds), normal variables given others."""

    def covariance(a, s, b, t):
        apart = distances(a, b, space)
        errors = process.deviation**2 * np.exp(-apart / process.reach)
        same = SKETCH_DEVIATION**2 * (a.sketch[:, None] == b.sketch)
        return LEVEL_DEVIATION**2 + SLOPE_DEVIATION**2 * s[:, None] * t + same + errors

    def conditional(y):
        own = covariance(process.points, process.scores, process.points, process.scores)
        own += NOISE**2 * np.eye(len(process.points))
        cross = covariance(points, scores, process.points, process.scores)
        expected = process.level + SLOPE * scores
        expected += cross @ np.linalg.solve(own, y - process.level - SLOPE * process.scores)
        left = covariance(points, scores, points, scores) - cross @ np.linalg.solve(own, cross.T)
        return expected, left

    return conditional


@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_mean_and_draws_are_those_of_the_conditional_distribution(space, n):
    points, scores, latency_s = some(space, n)
    process = ErrorProcess.of(space, points, scores, latency_s)
    others, theirs, _ = some(space, 12, seed=1)
    conditional = by_definition(space, process, others, theirs)
    expected, covariance = conditional(-np.log(latency_s))
    np.testing.assert_allclose(mean(space, process, others, theirs), expected, atol=1e-6)
    drawn = draws(space, process, others, theirs, 40_000)
    width = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(drawn.mean(axis=1), expected, atol=5 * width.max() / 200)
    np.testing.assert_allclose(np.cov(drawn), covariance, atol=0.05 * width.max() ** 2)


def test_what_was_measured_is_known(space):
    points, scores, latency_s = some(space, 40)
    process = ErrorProcess.of(space, points, scores, latency_s)
    found = mean(space, process, points, scores)
    assert np.abs(found + np.log(latency_s)).max() < 0.15
    assert draws(space, process, points, scores, 500).std(axis=1).max() < 0.05


def test_neighbours_of_what_was_slower_than_its_score_are_expected_to_be_slow(space):
    points, _, _ = some(space, 40)
    wrong = points.sketch == 0
    latency_s = np.where(wrong, 2e-3, 1e-3)
    process = ErrorProcess.of(space, points, np.zeros(40), latency_s)
    others = space.sample(60, np.random.default_rng(5)).distinct({*points.codes()})
    found = mean(space, process, others, np.zeros(len(others)))
    assert found[others.sketch == 0].max() < found[others.sketch == 1].min()


@pytest.mark.parametrize(("error", "deviations"), [(0.0, {0.1}), (0.7, {0.4, 0.8})])
def test_errors_are_as_large_as_measurements_say(space, error, deviations):
    points, scores, _ = some(space, 60)
    noise = error * np.random.default_rng(3).standard_normal(60)
    process = ErrorProcess.of(space, points, scores, np.exp(-SLOPE * scores - 7 + noise))
    assert process.deviation in deviations


def test_scores_alone_order_what_is_like_nothing_measured(space):
    points, scores, latency_s = some(space, 30)
    first = points.take(points.sketch == 0)
    process = ErrorProcess.of(space, first, scores[: len(first)], latency_s[: len(first)])
    others = space.sample(60, np.random.default_rng(5))
    others = others.take(others.sketch == 1)
    ladder = np.linspace(-3, 3, len(others))
    assert (np.diff(mean(space, process, others, ladder)) > 0).all()
