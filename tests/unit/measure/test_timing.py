"""Timing decides on a clock and a function; no TVM is needed to see how."""

import itertools
import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mschedx.measure import timing
from mschedx.measure.config import MeasureConfig
from mschedx.measure.timing import (
    Arguments,
    numpy_dtype,
    random_array,
    time_candidate,
    time_single_calls,
)

DEVICE = SimpleNamespace(sync=lambda: None)


class Kernel:
    """Takes `first_s`, then `later_s`; counts its calls; remembers what the evaluator was asked."""

    def __init__(self, first_s: float, later_s: float, groups: list[float] | None = None):
        self.durations = [first_s, later_s]
        self.calls = 0
        self.asked: list[tuple[int, int]] = []
        self.groups = None if groups is None else itertools.cycle(groups)

    def __call__(self, *_args):
        time.sleep(self.durations[min(self.calls, 1)])
        self.calls += 1

    def evaluator(self, number, repeat):
        self.asked.append((number, repeat))
        if self.groups is not None:
            following = [next(self.groups) for _ in range(repeat)]
            return lambda *_args: SimpleNamespace(results=following)

        def groups(*_args):
            time.sleep(number * repeat * self.durations[1])
            return SimpleNamespace(results=[self.durations[1]] * repeat)

        return groups


@pytest.fixture
def first_runs(monkeypatch):
    """Let the first runs take the seconds given, whatever the machine is doing."""

    def take(*seconds):
        runs = iter(seconds)
        monkeypatch.setattr(timing, "_once", lambda *_: next(runs))
        return runs

    return take


def measure(kernel, config=None, best_s=None):
    config = config or MeasureConfig()
    return time_candidate(kernel, kernel.evaluator, DEVICE, [], config, best_s)


def test_latency_is_the_median_of_the_groups():
    kernel = Kernel(0.01, 0.01, groups=[5.0, 1.0, 9.0, 2.0, 3.0])
    seen = measure(kernel, MeasureConfig(budget_s=1.0))
    assert seen.latency_s == 3.0
    assert seen.repeats_s == (5.0, 1.0, 9.0, 2.0, 3.0)
    assert not seen.cut


def test_three_groups_that_agree_are_enough():
    kernel = Kernel(0.01, 0.01, groups=[1.0, 1.015, 1.01, 9.0])
    seen = measure(kernel, MeasureConfig(budget_s=10.0, agreement=0.02))
    assert seen.repeats_s == (1.0, 1.015, 1.01)
    assert seen.latency_s == 1.01


def test_groups_that_do_not_agree_are_followed_by_more():
    kernel = Kernel(0.01, 0.01, groups=[1.0, 1.5, 1.0, 1.01, 1.01])
    seen = measure(kernel, MeasureConfig(budget_s=10.0, agreement=0.02))
    assert len(seen.repeats_s) == 5
    assert seen.latency_s == 1.01


def test_no_agreement_is_asked_for_at_zero():
    kernel = Kernel(0.01, 0.01, groups=[1.0])
    seen = measure(kernel, MeasureConfig(budget_s=10.0, agreement=0.0))
    assert len(seen.repeats_s) == 5


def test_a_short_kernel_is_grouped_to_the_least_duration(first_runs):
    first_runs(0.001)
    kernel = Kernel(0.0, 0.001, groups=[0.001, 0.002])
    measure(kernel, MeasureConfig(min_repeat_s=0.05, budget_s=10.0))
    assert kernel.asked == [(50, 3), (50, 1), (50, 1)]


def test_a_kernel_shorter_than_its_call_is_grouped_by_its_own_duration(first_runs):
    first_runs(0.001)
    kernel = Kernel(0.001, 0.001, groups=[1e-6])
    seen = measure(kernel, MeasureConfig(min_repeat_s=0.1, budget_s=10.0))
    numbers = [number for number, _ in kernel.asked]
    assert numbers[0] == 100
    assert set(numbers[1:]) <= {100_000, 100_001}  # rounded up
    assert seen.repeats_s == (1e-6,) * 3


def test_groups_end_with_the_budget_but_not_before_two(first_runs):
    first_runs(0.001)

    class Busy(Kernel):
        def evaluator(self, number, repeat):
            time.sleep(0.02)  # slower than the first run promised
            return super().evaluator(number, repeat)

    kernel = Busy(0.001, 0.001, groups=[0.01])
    seen = measure(kernel, MeasureConfig(min_repeat_s=0.02, budget_s=0.01))
    assert seen.repeats_s == (0.01, 0.01)


def test_a_long_kernel_is_timed_twice_only(first_runs):
    first_runs(0.06)
    kernel = Kernel(0.06, 0.06)
    measure(kernel, MeasureConfig(budget_s=0.08), best_s=math.inf)
    assert kernel.asked == [(1, 2)]


def test_two_runs_are_enough_where_each_takes_a_second(first_runs):
    first_runs(3.0, 2.5)
    kernel = Kernel(0.0, 0.0)
    seen = measure(kernel, best_s=math.inf)
    assert (seen.latency_s, seen.repeats_s, seen.cut) == (2.5, (3.0, 2.5), False)
    assert not kernel.asked


def test_a_first_run_of_seconds_does_not_hide_a_fast_kernel(first_runs):
    first_runs(3.0, 0.002)
    kernel = Kernel(0.0, 0.0, groups=[0.001])
    assert measure(kernel, best_s=math.inf).latency_s == 0.001


def test_a_slow_candidate_without_a_best_to_compare_with_is_cut_for_now(first_runs):
    first_runs(0.06)
    kernel = Kernel(0.06, 0.06)
    assert measure(kernel).cut
    assert not kernel.asked


def test_a_clearly_slow_candidate_is_cut_after_its_first_run(first_runs):
    runs = first_runs(0.05, 99.0)
    kernel = Kernel(0.0, 0.0)
    seen = measure(kernel, best_s=0.01)
    assert seen.cut
    assert seen.latency_s == 0.05
    assert not kernel.asked
    assert list(runs) == [99.0]  # there was no second run


def test_a_cold_first_run_does_not_condemn_a_fast_kernel(first_runs):
    runs = first_runs(0.015, 0.001)
    assert not measure(Kernel(0.0, 0.001), best_s=0.001).cut
    assert not list(runs)


def test_a_fast_candidate_is_run_once_before_it_is_timed(first_runs):
    runs = first_runs(0.002, 99.0)
    assert not measure(Kernel(0.0, 0.001), best_s=0.001).cut
    assert list(runs) == [99.0]


def test_two_slow_runs_do(first_runs):
    first_runs(0.015, 0.004)
    seen = measure(Kernel(0.0, 0.0), best_s=0.001)
    assert seen.cut
    assert seen.latency_s == 0.004


def test_nothing_is_cut_when_not_asked_for():
    kernel = Kernel(0.05, 0.05)
    assert not measure(kernel, MeasureConfig(slow_cutoff=None), best_s=0.0001).cut


def test_fixed_number_and_cache_flush():
    kernel = Kernel(0.001, 0.001)
    measure(kernel, MeasureConfig(number=7, repeats=1))
    measure(kernel, MeasureConfig(number=7, flush_cache=True, repeats=1))
    assert [number for number, _ in kernel.asked] == [7, 1]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_small_integers_take_their_whole_range(dtype):
    values = random_array(dtype, (1 << 20,), np.random.default_rng(0), 4)
    assert values.dtype == dtype
    limits = np.iinfo(dtype)
    if dtype != "int16":
        assert (values.min(), values.max()) == (limits.min, limits.max)
    assert np.unique(values).size > 0.9 * (limits.max - limits.min)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_wide_integers_are_indices_that_stay_inside(dtype):
    values = random_array(dtype, (1000,), np.random.default_rng(0), 7)
    assert values.dtype == dtype
    assert set(np.unique(values)) == set(range(7))


@pytest.mark.parametrize(
    ("dtype", "bounds", "least", "most"),
    [
        ("int8", (1, None), 1, 127),
        ("int16", (-3, 6), -3, 6),
        ("uint8", (None, 9), 0, 9),
        ("int32", (0, 40), 0, 40),
        ("int64", (1, None), 1, 6),
        ("int64", (9, None), 9, 9),
    ],
)
def test_integers_are_within_the_bounds_that_are_known(dtype, bounds, least, most):
    values = random_array(dtype, (10_000,), np.random.default_rng(0), 7, bounds=bounds)
    assert values.dtype == dtype
    assert (values.min(), values.max()) == (least, most)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn"])
def test_floats_are_finite_and_of_both_signs(dtype):
    values = random_array(dtype, (1000,), np.random.default_rng(0), 1)
    assert values.dtype == numpy_dtype(dtype)
    values = values.astype(np.float64)
    assert np.isfinite(values).all()
    assert np.abs(values).max() <= 1
    assert values.min() < 0 < values.max()


def test_bool_has_both_values():
    values = random_array("bool", (100,), np.random.default_rng(0), 1)
    assert values.dtype == np.bool_
    assert set(np.unique(values)) == {False, True}


@pytest.mark.parametrize("dtype", ["int4", "float4_e2m1fn", "handle"])
def test_types_that_cannot_be_filled_are_named(dtype):
    with pytest.raises(TypeError, match=dtype):
        numpy_dtype(dtype)


def test_arguments_are_kept_and_bounded():
    import tvm

    arguments, device = Arguments(), tvm.cpu()
    infos = [(("TENSOR", "float32", (n, 4)), ("TENSOR", "int32", (n,))) for n in range(1, 8)]
    first = arguments.get(infos[0], device)
    assert arguments.get(infos[0], device) is first
    assert [tuple(t.shape) for t in first] == [(1, 4), (1,)]
    for info in infos:
        assert arguments.get(info, device)[1].numpy().max() < 4
    assert arguments.get(infos[0], device) is not first  # made room for the others


def test_arguments_that_are_updated_are_put_back_whenever_they_are_asked_for():
    import tvm

    arguments, device = Arguments(), tvm.cpu()
    info = (("TENSOR", "float32", (8,)), ("TENSOR", "int32", (8,)), ("TENSOR", "bfloat16", (8,)))
    first = arguments.get(info, device, updated=(0, 2))
    before = [one.numpy().copy() for one in first]
    for one, other in zip(first, before):
        one.copyfrom(np.zeros_like(other))
    second = arguments.get(info, device, updated=(0, 2))
    assert second is first
    found = [one.numpy() for one in second]
    for place in (0, 2):
        np.testing.assert_array_equal(found[place], before[place])
        assert found[place].any()
    assert not found[1].any()


@pytest.mark.parametrize(("budget_s", "least", "most"), [(0.0, 5, 5), (30.0, 100, 100)])
def test_single_calls_each_begin_with_what_comes_before(first_runs, budget_s, least, most):
    begun, runs = [], iter(range(1, 1000))
    first_runs(*[9.0, 3.0, 1.0, 2.0] * 50)
    seen = time_single_calls(
        None, DEVICE, [], MeasureConfig(budget_s=budget_s), lambda: begun.append(next(runs))
    )
    assert least <= len(seen.repeats_s) <= most
    assert len(begun) == len(seen.repeats_s) + 1
    assert seen.repeats_s[:5] == (3.0, 1.0, 2.0, 9.0, 3.0)
    assert seen.latency_s == np.median(seen.repeats_s)


def test_arguments_of_other_bounds_are_others():
    import tvm

    arguments, device = Arguments(), tvm.cpu()
    info = (("TENSOR", "int8", (100,)), ("TENSOR", "int8", (100,)))
    plain = arguments.get(info, device)
    bounded = arguments.get(info, device, ((None, None), (1, 3)))
    assert set(bounded[1].numpy().tolist()) == {1, 2, 3}
    assert set(plain[1].numpy().tolist()) - {1, 2, 3}
