import warnings

import numpy as np
import pytest

from mschedx.bench.compare.statistics import best_curve, first_reach, geomean_speedup, reach


def test_best_curve_starts_at_infinity_and_holds_its_last_value():
    assert best_curve([None, 3.0, 5.0, 2.0], 6).tolist() == [np.inf, 3, 3, 2, 2, 2]
    assert best_curve([4.0, 3.0, 2.0], 2).tolist() == [4, 3]
    assert best_curve([], 2).tolist() == [np.inf, np.inf]


def speedup(reference, tuner, seed=0):
    return geomean_speedup(
        {k: np.array(v) for k, v in reference.items()},
        {k: np.array(v) for k, v in tuner.items()},
        np.random.default_rng(seed),
    )


def test_speedup_is_the_geometric_mean_of_medians():
    found = speedup({"a": [4.0, 4.0, 9.0], "b": [1.0]}, {"a": [1.0, 1.0, 1.0], "b": [1.0]})
    assert found.value == pytest.approx(2.0)  # sqrt(4 · 1)
    assert found.low <= found.value <= found.high


def test_equal_tuners_have_an_interval_around_one():
    rng = np.random.default_rng(1)
    noise = {f"w{i}": rng.lognormal(0, 0.1, 5) for i in range(8)}
    other = {f"w{i}": rng.lognormal(0, 0.1, 5) for i in range(8)}
    found = speedup(noise, other)
    assert found.low < 1 < found.high


def test_the_same_latencies_have_the_same_interval_twice():
    rng = np.random.default_rng(1)
    base, own = ({f"w{i}": rng.lognormal(0, 0.1, 5) for i in range(8)} for _ in range(2))
    found = geomean_speedup(base, own)
    assert found == geomean_speedup(base, own)
    assert found != geomean_speedup(base, own, np.random.default_rng(1))


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(2), 0
    for _ in range(40):
        gains = rng.normal(0.4, 0.2, 10)
        base = {f"w{i}": rng.lognormal(0, 0.05, 3) for i in range(10)}
        ours = {f"w{i}": rng.lognormal(-g, 0.05, 3) for i, g in enumerate(gains)}
        found = geomean_speedup(base, ours, rng, draws=200)
        covered += found.low <= np.exp(0.4) <= found.high
    assert covered >= 32


def test_workloads_that_one_side_lacks_or_failed_are_left_out():
    found = speedup({"a": [2.0], "b": [1.0], "c": [1.0]}, {"a": [1.0], "c": [np.inf]})
    assert found.value == pytest.approx(2.0)
    assert np.isnan(speedup({"a": [1.0]}, {"b": [1.0]}).value)


def test_of_one_pair_of_runs_there_is_no_interval():
    assert str(speedup({"a": [2.0]}, {"a": [1.0]})) == "2.00 [one run]"
    assert str(speedup({"a": [2.0], "b": [2.0]}, {"a": [1.0]})) == "2.00 [one run] (1 of 2)"
    assert str(speedup({"a": [2.0, 2.0]}, {"a": [1.0]})) == "2.00 [2.00, 2.00]"
    assert str(speedup({}, {})) == "-"


def test_a_mean_says_of_how_many_workloads_it_is():
    base, failing = {"a": [2.0, 2.0], "b": [1.0, 1.0]}, {"a": [1.0, 1.0], "b": [1.0, np.inf]}
    assert str(speedup(base, {"a": [1.0, 1.0], "b": [0.5, 0.5]})) == "2.00 [2.00, 2.00]"
    assert str(speedup(base, failing)) == "2.00 [2.00, 2.00] (1 of 2)"
    assert str(speedup(base, {"a": [np.inf], "b": []})) == "-"


def test_a_seed_without_a_latency_on_both_sides_is_no_warning():
    base, ours = {"a": [2.0, 2.0, np.inf]}, {"a": [1.0, 1.0, np.inf]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert speedup(base, ours).value == pytest.approx(2.0)


def test_first_reach_counts_trials_from_one():
    curve = np.array([5.0, 3.0, 3.0, 1.0])
    assert [first_reach(curve, g) for g in (5, 3, 1, 0.5)] == [1, 2, 4, None]


def test_reach_takes_medians_and_says_how_many_got_there():
    curves = [np.array([2.0, 1.0]), np.array([4.0, 1.1]), np.array([4.0, 4.0])]
    found = reach(curves, [[1.0, 2.0]] * 3, [1.0] * 3, 0.9)
    assert (found.trials, found.seconds) == (2, 2.0)
    assert found.reached == pytest.approx(2 / 3)
    never = reach(curves, [[1.0, 2.0]] * 3, [0.1] * 3, 1.0)
    assert (never.trials, never.seconds, never.reached) == (None, None, 0.0)


def test_draws_without_a_latency_widen_the_interval():
    """Two of five seeds failed: the tuner may as well never get there, and the interval says so."""
    found = speedup({"a": [2.0]}, {"a": [1.0, 1.0, 1.0, np.inf, np.inf]})
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high) == (0.0, pytest.approx(2.0))
    found = speedup({"a": [2.0, 2.0, 2.0, np.inf, np.inf]}, {"a": [1.0]})
    assert (found.low, found.high) == (pytest.approx(2.0), np.inf)
