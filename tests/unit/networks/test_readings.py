"""What clock readings of a network come to."""

from collections import Counter

import numpy as np
import pytest
import tvm
from tiny_networks import quick, two

from mschedx import tune_model
from mschedx.networks.readings import Readings, read


def test_the_clock_takes_as_long_as_a_builtin_that_does_nothing():
    readings = Readings()
    readings.calls = Counter(
        {"matmul": 2, "vm.builtin.alloc_tensor": 3, "vm.builtin.null_value": 4}
    )
    readings.parts = [
        {"matmul": s, "vm.builtin.alloc_tensor": 6e-6, "vm.builtin.null_value": 4e-6}
        for s in (9e-6, 10e-6, 30e-6)
    ]
    assert readings.in_place() == pytest.approx(
        {"matmul": 8e-6, "vm.builtin.alloc_tensor": 3e-6, "vm.builtin.null_value": 0}
    )


def test_without_builtins_nothing_is_known_of_the_clock():
    readings = Readings()
    readings.calls, readings.parts = Counter({"matmul": 2}), [{"matmul": 9e-6}]
    assert readings.in_place() == {"matmul": 9e-6}


def test_the_median_of_the_turns_counts_for_every_call():
    readings = Readings()
    readings.calls["matmul"] = 3
    readings.alone["matmul"] = [2e-6, 1e-6, 7e-6]
    assert readings.rotated("matmul") == pytest.approx(6e-6)
    assert readings.rotated("softmax") == 0


@pytest.mark.parametrize("runs", [1, 2, 7])
def test_as_many_runs_as_asked_for(runs):
    model, (x,) = two()
    result = tune_model(model, (x,), trials_per_task=1, **quick())
    names = {
        f"{name}{end}"
        for c in result.tasks
        for name in c.task.functions
        for end in ("", "_prepacked")
    }
    asked = []

    def far(name, count):
        asked.append((name, count))
        return [0] * count

    given = [tvm.runtime.tensor(np.asarray(x))]
    readings = read(result.executable, tvm.cpu(), given, names, far, runs)
    assert len(readings.whole) == len(readings.parts) == runs
    assert {name for name, _ in asked} == set(readings.alone) <= names
    assert len(readings.alone) == 2
    assert {len(turns) for turns in readings.alone.values()} == {min(runs, 3)}
    assert set(readings.parts[0]) == set(readings.calls)
