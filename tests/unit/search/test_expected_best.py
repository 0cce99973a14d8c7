"""Which few configs to try: unlike ones, of which the fastest is expected to be fastest."""

from itertools import combinations

import numpy as np
import pytest
from tvm.target import Target

from mschedx import workloads
from mschedx.search.expected_best import DEVIATION, REACH, by_expected_best, distances
from mschedx.search.points import SketchSet
from mschedx.space import sketches


def expected_fastest(chosen, log_speed, distance, rng, draws=20_000):
    """Of a set, by its definition."""
    alike = np.exp(-distance / REACH)[np.ix_(chosen, chosen)]
    errors = rng.multivariate_normal(np.zeros(len(chosen)), DEVIATION**2 * alike, size=draws)
    return float((log_speed[chosen] + errors).max(axis=1).mean())


def some(seed, n=8):
    """Predictions of n configs of eight decisions of three values each."""
    rng = np.random.default_rng(seed)
    configs = rng.integers(3, size=(n, 8))
    return rng.normal(scale=0.5, size=n), (configs[:, None] != configs[None]).mean(axis=2)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [2, 3])
def test_no_other_few_are_expected_to_be_much_faster(seed, count):
    log_speed, distance = some(seed)
    rng = np.random.default_rng(seed)
    chosen = by_expected_best(log_speed, distance, count, rng)
    found = expected_fastest(chosen, log_speed, distance, rng)
    best = max(
        expected_fastest(list(few), log_speed, distance, rng)
        for few in combinations(range(len(log_speed)), count)
    )
    alone = log_speed.max()
    assert found - alone >= (1 - 1 / np.e) * (best - alone) - 0.02  # as far as the draws tell


def test_the_first_is_the_best_prediction_and_each_comes_once():
    log_speed, distance = some(0, n=40)
    order = by_expected_best(log_speed, distance, 40, np.random.default_rng(0))
    assert order[0] == log_speed.argmax()
    assert sorted(order) == list(range(40))
    few = by_expected_best(log_speed, distance, 5, np.random.default_rng(0))
    assert few.tolist() == order[:5].tolist()


def test_predictions_that_are_never_wrong_keep_their_order():
    log_speed, distance = some(1, n=20)
    order = by_expected_best(log_speed, distance, 20, np.random.default_rng(0), deviation=0.0)
    assert order.tolist() == np.argsort(-log_speed).tolist()


def test_a_config_unlike_the_first_comes_before_its_twins():
    """Five that differ in nothing that matters, and one a tenth slower that differs in all."""
    distance = np.ones((6, 6))
    distance[:5, :5] = 0.0
    log_speed = np.array([0.0, -0.001, -0.002, -0.003, -0.004, -0.1])
    order = by_expected_best(log_speed, distance, 3, np.random.default_rng(0))
    assert order[:2].tolist() == [0, 5]
    far = by_expected_best(log_speed - 9 * np.eye(6)[5], distance, 3, np.random.default_rng(0))
    assert 5 not in far, "one that is no match for them whatever the error is left for later"


def test_of_two_opinions_the_first_chooses_first_and_both_are_heard():
    """Two that each hold one config for three times as fast as the other does."""
    opinions = np.array([[1.1, 0.0, 0.9, 0.9], [0.0, 1.0, 0.4, 0.4]])
    for swapped in (False, True):
        given = opinions[::-1] if swapped else opinions
        order = by_expected_best(given, 1 - np.eye(4), 4, np.random.default_rng(0), 0.1)
        assert order[:2].tolist() == ([1, 0] if swapped else [0, 1])
    alone = by_expected_best(opinions[0], 1 - np.eye(4), 4, np.random.default_rng(0), 0.1)
    assert alone[-1] == 1


def test_equal_opinions_are_one():
    log_speed, distance = some(2, n=20)
    one = by_expected_best(log_speed, distance, 6, np.random.default_rng(0))
    two = by_expected_best(np.stack([log_speed] * 2), distance, 6, np.random.default_rng(0))
    assert one.tolist() == two.tolist()


@pytest.mark.parametrize(("n", "count"), [(0, 3), (4, 0), (1, 5)])
def test_few_or_none(n, count):
    found = by_expected_best(np.zeros(n), np.zeros((n, n)), count, np.random.default_rng(0))
    assert found.tolist() == list(range(min(n, count)))


def test_distances_are_shares_of_decisions():
    target = Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
    space = SketchSet(sketches(workloads.make("gemm", (48, 32, 16)), target, "post-order-apply"))
    assert len(space.sketches) > 1
    points = space.sample(12, np.random.default_rng(0))
    apart = distances(points, points, space)
    for i in range(12):
        for j in range(12):
            s = int(points.sketch[i])
            width = len(space.sketches[s].names)
            one, other = points.configs[i, :width], points.configs[j, :width]
            expected = np.mean(one != other) if points.sketch[j] == s else 1.0
            assert apart[i, j] == pytest.approx(expected)
