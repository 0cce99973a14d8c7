"""Arguments that a schedule is checked on."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.target import Target

from mschedx.emulator.check import check, reference
from mschedx.space import sketches

A100 = Target("nvidia/nvidia-a100")


def rows_of_a_table(rows, dtype="int32"):
    x, i = te.placeholder((rows, 8), name="X"), te.placeholder((16,), dtype, "I")
    y = te.compute((16, 8), lambda a, b: x[i[a], b], name="Y")
    function = te.create_prim_func([x, i, y]).with_attr("global_symbol", "main")
    return tvm.IRModule({"main": function})


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("rows", [2, 100])
def test_integers_that_may_be_indices_are_within_every_extent(rows, dtype):
    x, i, _ = reference(rows_of_a_table(rows, dtype), np.random.default_rng(0)).before
    assert i.dtype == dtype
    assert set(i.tolist()) == set(range(min(rows, 3)))
    assert set(x.ravel().tolist()) <= {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_small_indices_are_within_their_table(dtype):
    _, i, _ = reference(rows_of_a_table(5, dtype), np.random.default_rng(0)).before
    assert 0 <= i.min() <= i.max() < 5


def test_a_right_schedule_of_rows_of_a_table_has_no_fault(tmp_path):
    mod, rng = rows_of_a_table(100), np.random.default_rng(0)
    expected = reference(mod, rng)
    x, i, _ = expected.before
    np.testing.assert_array_equal(expected.after[2], x[i])
    sketch, *_ = sketches(mod, A100)
    (schedule,) = sketch.schedules(sketch.sample(1, rng))
    checked = check(schedule.mod, A100, expected, tmp_path)
    assert checked.ok, (checked.wrong, checked.execution.faults)
    assert list(tmp_path.glob("*.so")) == []
    other = replace(expected, before=expected.before[:2])
    with pytest.raises(ValueError, match="expected 3 arrays, got 2"):
        check(schedule.mod, A100, other, tmp_path)
    assert list(tmp_path.glob("*.so")) == []
