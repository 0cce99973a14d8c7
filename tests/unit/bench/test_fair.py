"""Contenders take turns, each in the thread that its thread pool belongs to."""

from __future__ import annotations

import math
import os
import threading
import time
from functools import partial

import numpy as np
import pytest

from mschedx.bench import fair
from mschedx.bench.torch_process import TorchProcess
from mschedx.workloads import Workload


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair.compat, "SETTLE_S", 0.0)


def test_kernels_share_one_thread_and_others_stay_in_the_callers() -> None:
    threads: dict[str, set[int]] = {"a": set(), "b": set(), "NumPy": set()}

    def call(name: str) -> fair.Call:
        return lambda: threads[name].add(threading.get_ident())

    timings = fair.time_all(
        {"a": call("a"), "b": call("b")},
        {"NumPy": partial(fair.timed, call("NumPy"))},
        rounds=2,
        group_s=1e-6,
    )
    assert set(timings) == {"a", "b", "NumPy"}
    assert threads["NumPy"] == {threading.get_ident()}
    assert threads["a"] == threads["b"] != threads["NumPy"]
    assert len(threads["a"]) == 1


def test_turns_alternate() -> None:
    order: list[str] = []

    def timer(name: str) -> fair.Timer:
        return lambda number: order.append(name) or 1.0 / 8

    fair.time_in_turn({"a": timer("a"), "b": timer("b")}, rounds=3, group_s=0.01)
    assert order[4:] == ["a", "a", "b", "b"] * 3


def test_slow_contender_is_called_twice() -> None:
    calls: list[int] = []
    timings = fair.time_in_turn({"slow": lambda number: calls.append(number) or 2.0}, rounds=5)
    assert calls == [1, 1]
    assert timings["slow"] == fair.TurnTiming(2.0, 2.0)


def test_a_contender_of_many_seconds_is_called_once() -> None:
    calls: list[int] = []
    timings = fair.time_in_turn({"slow": lambda number: calls.append(number) or 10.0}, rounds=5)
    assert calls == [1]
    assert timings["slow"] == fair.TurnTiming(10.0, 10.0)


def test_a_slow_first_call_does_not_stand_for_all() -> None:
    seconds = iter([2.0])
    timings = fair.time_in_turn({"late": lambda number: next(seconds, 0.01)}, rounds=5)
    assert timings["late"] == fair.TurnTiming(0.01, 0.01)


def test_groups_last_long_enough_and_the_least_counts() -> None:
    timings = fair.time_all(
        {}, {"sleep": partial(fair.timed, lambda: time.sleep(0.002))}, rounds=3, group_s=0.01
    )
    assert 0.002 <= timings["sleep"].min_s <= timings["sleep"].median_s


def test_a_kernel_that_fails_ends_the_timing() -> None:
    def fail() -> None:
        raise ValueError("wrong shape")

    with pytest.raises(ValueError, match="wrong shape"):
        fair.time_all({"kernel": fail}, {})


def test_torch_is_timed_in_one_other_process() -> None:
    with TorchProcess() as torch:
        timer = torch.timer(Workload("g", "gemm", (64, 64, 64)))
        assert timer is not None
        assert 0 < timer(2) < 1
        assert torch.timer(Workload("g", "gemm", (64, 64, 64), "float16")) is None
        with pytest.raises(KeyError):
            timer(1)  # inputs of one workload at a time are kept


def test_a_process_of_torch_that_dies_costs_torch_s_time_alone() -> None:
    workload = Workload("g", "gemm", (64, 64, 64))
    with TorchProcess() as torch:
        torch._pool.submit(os._exit, 1)
        assert torch.timer(workload) is None
        timer = torch.timer(workload)
        assert timer is not None
        assert timer(1) < 1
        torch._pool.submit(os._exit, 1)
        assert timer(1) == math.inf
        timings = fair.time_in_turn({"torch": timer, "other": lambda number: 1e-3}, rounds=1)
        assert timings == {"other": fair.TurnTiming(1e-3, 1e-3)}


def test_what_was_timed_before_a_contender_died_counts() -> None:
    seconds = iter([0.01, 0.01, 0.02, 0.01])
    timings = fair.time_in_turn({"late": lambda number: next(seconds, math.inf)}, rounds=3)
    assert timings["late"] == fair.TurnTiming(0.01, 0.01)


def test_bound_passes_tensors_of_the_arrays() -> None:
    seen = []
    fair.bound(lambda *tensors: seen.extend(tensors), [np.arange(3, dtype="int32")])()
    assert seen[0].numpy().tolist() == [0, 1, 2]
