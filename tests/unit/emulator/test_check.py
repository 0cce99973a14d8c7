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


def each(function, *inputs, name):
    """One block that applies a function to the elements of arrays of one shape."""
    return te.compute(inputs[0].shape, lambda *at: function(*(x[at] for x in inputs)), name=name)


def gelu(z, other):
    scaled = each(lambda x: x * 0.7071067811865476, z, name="scaled")
    error = each(te.erf, scaled, name="error")
    return each(lambda x, y: 0.5 * x * (1 + y), z, error, name="Y")


def gelu_tanh(z, other):
    cubic = each(lambda x: 0.7978845608 * x * (1 + 0.044715 * x * x), z, name="cubic")
    tanh = each(te.tanh, cubic, name="tanh")
    return each(lambda x, y: 0.5 * x * (1 + y), z, tanh, name="Y")


def clipped_sum(z, other):
    added = each(lambda x, y: x + y, z, other, name="sum")
    return each(lambda x: te.min(te.max(x, 0.0), 6.0), added, name="Y")


@pytest.mark.parametrize("dtype", ["float16", "int8", "float32"])
@pytest.mark.parametrize("epilogue", [gelu, gelu_tanh, clipped_sum])
def test_tiles_end_in_an_epilogue_that_reads_them_twice(epilogue, dtype, tmp_path):
    m, n, k = 64, 64, 32
    a, b = te.placeholder((m, k), dtype, "A"), te.placeholder((k, n), dtype, "B")
    other, r = te.placeholder((m, n), "float32", "other"), te.reduce_axis((0, k), "r")
    wide = "int32" if dtype == "int8" else "float32"
    c = te.compute(
        (m, n), lambda i, j: te.sum(a[i, r].astype(wide) * b[r, j].astype(wide), r), name="C"
    )
    z = te.compute((m, n), lambda i, j: c[i, j].astype("float32") * 0.125, name="Z")
    function = te.create_prim_func([a, b, other, epilogue(z, other)])
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    rng = np.random.default_rng(0)
    expected = reference(mod, rng)
    for sketch in sketches(mod, A100):
        assert ("Tensorize" in sketch.design.signature) == (dtype != "float32")
        (schedule,) = sketch.schedules(sketch.sample(1, rng))
        blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
        outermost = [schedule.get(schedule.get_loops(block)[0]) for block in blocks]
        assert all(loop.same_as(outermost[0]) for loop in outermost), "one kernel"
        checked = check(schedule.mod, A100, expected, tmp_path)
        assert checked.ok, (checked.wrong, checked.execution.faults)


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
