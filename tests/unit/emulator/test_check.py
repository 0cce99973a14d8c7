"""Arguments that a schedule is checked on."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.script import tirx as T
from tvm.target import Target

from mschedx import compat
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


with compat.fast_script():

    @T.prim_func(s_tir=True)
    def counted_up(a: T.Buffer((64, 16), "float32")):
        for i, j in T.grid(64, 16):
            with T.sblock("a"):
                vi, vj = T.axis.remap("SS", [i, j])
                a[vi, vj] = a[vi, vj] + T.float32(1)

    @T.prim_func(s_tir=True)
    def largest_so_far(x: T.Buffer((64, 16), "float32"), a: T.Buffer((64, 16), "float32")):
        for i, j in T.grid(64, 16):
            with T.sblock("a"):
                vi, vj = T.axis.remap("SS", [i, j])
                a[vi, vj] = T.max(a[vi, vj], x[vi, vj])

    @T.prim_func(s_tir=True)
    def counted_up_by_threads(a: T.Buffer((64, 16), "float32")):
        for i in T.thread_binding(64, "blockIdx.x"):
            for j in T.thread_binding(16, "threadIdx.x"):
                with T.sblock("a"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    a[vi, vj] = a[vi, vj] + T.float32(1)

    @T.prim_func(s_tir=True)
    def largest_by_threads(x: T.Buffer((64, 16), "float32"), a: T.Buffer((64, 16), "float32")):
        for i in T.thread_binding(64, "blockIdx.x"):
            for j in T.thread_binding(16, "threadIdx.x"):
                with T.sblock("a"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    a[vi, vj] = T.max(a[vi, vj], x[vi, vj])

    @T.prim_func(s_tir=True)
    def row_of_a_cache(
        x: T.Buffer((16,), "float16"),
        c: T.Buffer((8, 16), "float16"),
        y: T.Buffer((8, 16), "float16"),
    ):
        for j in range(16):
            with T.sblock("c"):
                vj = T.axis.spatial(16, j)
                c[5, vj] = x[vj]
        for i, j in T.grid(8, 16):
            with T.sblock("y"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi, vj] = c[vi, vj] * T.float16(2)

    @T.prim_func(s_tir=True)
    def every_other(x: T.Buffer((64,), "uint8"), y: T.Buffer((128,), "uint8")):
        for i in range(64):
            with T.sblock("y"):
                vi = T.axis.spatial(64, i)
                y[vi * 2] = x[vi] + T.uint8(3)

    @T.prim_func(s_tir=True)
    def each_twice(x: T.Buffer((64,), "uint8"), y: T.Buffer((128,), "uint8")):
        for i in range(128):
            with T.sblock("y"):
                vi = T.axis.spatial(128, i)
                y[vi] = x[vi // 2] + T.uint8(3)


def executed(function, folder, of=None):
    """A schedule of a function beside the reference of it, or of another one."""
    mod, asked = (
        tvm.IRModule({"main": one.with_attr("global_symbol", "main")})
        for one in (function, of or function)
    )
    rng = np.random.default_rng(0)
    expected = reference(asked, rng)
    sketch, *_ = sketches(mod, A100)
    (schedule,) = sketch.schedules(sketch.sample(1, rng))
    return expected, check(schedule.mod, A100, expected, folder)


@pytest.mark.parametrize(
    ("function", "by_threads"),
    [(counted_up, counted_up_by_threads), (largest_so_far, largest_by_threads)],
    ids=["counted up", "largest so far"],
)
def test_what_is_read_before_it_is_written_starts_as_it_is(function, by_threads, tmp_path):
    """TVM schedules no such block for a GPU; people write their threads themselves."""
    plain, bound = (
        tvm.IRModule({"main": one.with_attr("global_symbol", "main")})
        for one in (function, by_threads)
    )
    expected = reference(plain, np.random.default_rng(0))
    assert all(np.isfinite(start).all() for start in expected.before)
    checked = check(bound, A100, expected, tmp_path)
    assert checked.ok, (checked.wrong, checked.execution.faults)


def test_a_cache_of_which_a_row_is_written_starts_as_it_is(tmp_path):
    expected, checked = executed(row_of_a_cache, tmp_path)
    assert checked.ok, (checked.wrong, checked.execution.faults)
    assert all(np.isfinite(start).all() for start in expected.before)


def test_what_nobody_writes_stays(tmp_path):
    expected, checked = executed(every_other, tmp_path)
    assert checked.ok, (checked.wrong, checked.execution.faults)
    (x, y), (_, end) = expected.before, expected.after
    assert (y == 255).all()
    np.testing.assert_array_equal(end[::2], x + 3)
    assert (end[1::2] == 255).all()


def test_a_kernel_that_writes_what_nobody_does_is_wrong(tmp_path):
    _, checked = executed(each_twice, tmp_path, of=every_other)
    assert checked.wrong == "64 of 128 values are written that nobody writes"


def test_results_of_which_most_are_no_numbers_show_nothing(tmp_path):
    x = te.placeholder((64, 16), "float32", "X")
    y = te.compute((64, 16), lambda *at: te.log(x[at]), name="Y")
    _, checked = executed(te.create_prim_func([x, y]), tmp_path)
    assert checked.wrong == ""
    assert "NaN or infinite for the inputs tried" in checked.unshown
    assert not checked.ok
