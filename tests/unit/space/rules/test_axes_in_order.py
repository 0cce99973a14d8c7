"""Reductions in any order of their loops have the design spaces of the usual one."""

import numpy as np
import pytest
import tvm
import tvm_ffi
from spaces import CUDA
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.script import tirx as T
from tvm.target import Target
from unoptimised import run_once

from mschedx import compat
from mschedx.space import sketches
from mschedx.space.rules.axes_in_order import AxesInOrder, axes_in_order
from mschedx.space.rules.blocks import root_blocks

ZEN4 = Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
HASWELL = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})

with compat.fast_script():

    @T.prim_func(s_tir=True)
    def columns(x: T.Buffer((512, 64), "float32"), y: T.Buffer((64,), "float32")):
        for j, r in T.grid(64, 512):
            with T.sblock("y"):
                vj, vr = T.axis.remap("SR", [j, r])
                with T.init():
                    y[vj] = T.float32(0)
                y[vj] = y[vj] + x[vr, vj]

    @T.prim_func(s_tir=True)
    def columns_by_rows(x: T.Buffer((512, 64), "float32"), y: T.Buffer((64,), "float32")):
        for r, j in T.grid(512, 64):
            with T.sblock("y"):
                vr, vj = T.axis.remap("RS", [r, j])
                with T.init():
                    y[vj] = T.float32(0)
                y[vj] = y[vj] + x[vr, vj]

    @T.prim_func(s_tir=True)
    def middle(x: T.Buffer((2, 256, 48), "float32"), y: T.Buffer((2, 48), "float32")):
        for i, j, r in T.grid(2, 48, 256):
            with T.sblock("y"):
                vi, vj, vr = T.axis.remap("SSR", [i, j, r])
                with T.init():
                    y[vi, vj] = T.float32(0)
                y[vi, vj] = y[vi, vj] + x[vi, vr, vj]

    @T.prim_func(s_tir=True)
    def middle_by_rows(x: T.Buffer((2, 256, 48), "float32"), y: T.Buffer((2, 48), "float32")):
        for i, r, j in T.grid(2, 256, 48):
            with T.sblock("y"):
                vi, vr, vj = T.axis.remap("SRS", [i, r, j])
                with T.init():
                    y[vi, vj] = T.float32(0)
                y[vi, vj] = y[vi, vj] + x[vi, vr, vj]

    @T.prim_func(s_tir=True)
    def planes(x: T.Buffer((24, 6, 16), "float32"), y: T.Buffer((24,), "float32")):
        for i, r, s in T.grid(24, 6, 16):
            with T.sblock("y"):
                vi, vr, vs = T.axis.remap("SRR", [i, r, s])
                with T.init():
                    y[vi] = T.float32(0)
                y[vi] = y[vi] + x[vi, vr, vs]

    @T.prim_func(s_tir=True)
    def planes_by_columns(x: T.Buffer((24, 6, 16), "float32"), y: T.Buffer((24,), "float32")):
        for i, s, r in T.grid(24, 16, 6):
            with T.sblock("y"):
                vi, vs, vr = T.axis.remap("SRR", [i, s, r])
                with T.init():
                    y[vi] = T.float32(0)
                y[vi] = y[vi] + x[vi, vr, vs]

    @T.prim_func(s_tir=True)
    def rows(x: T.Buffer((24, 96), "float32"), y: T.Buffer((24,), "float32")):
        for i, r in T.grid(24, 96):
            with T.sblock("y"):
                vi, vr = T.axis.remap("SR", [i, r])
                with T.init():
                    y[vi] = T.float32(0)
                y[vi] = y[vi] + x[vi, vr]

    @T.prim_func(s_tir=True)
    def rows_by_columns(x: T.Buffer((24, 96), "float32"), y: T.Buffer((24,), "float32")):
        for r, i in T.grid(96, 24):
            with T.sblock("y"):
                vr, vi = T.axis.remap("RS", [r, i])
                with T.init():
                    y[vi] = T.float32(0)
                y[vi] = y[vi] + x[vi, vr]

    @T.prim_func(s_tir=True)
    def product(
        a: T.Buffer((16, 64), "uint8"),
        b: T.Buffer((64, 32), "int8"),
        c: T.Buffer((16, 32), "int32"),
    ):
        for i, j, k in T.grid(16, 32, 64):
            with T.sblock("c"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    c[vi, vj] = 0
                c[vi, vj] = c[vi, vj] + T.Cast("int32", a[vi, vk]) * T.Cast("int32", b[vk, vj])

    @T.prim_func(s_tir=True)
    def outer_products(
        a: T.Buffer((16, 64), "uint8"),
        b: T.Buffer((64, 32), "int8"),
        c: T.Buffer((16, 32), "int32"),
    ):
        for k, i, j in T.grid(64, 16, 32):
            with T.sblock("c"):
                vk, vi, vj = T.axis.remap("RSS", [k, i, j])
                with T.init():
                    c[vi, vj] = 0
                c[vi, vj] = c[vi, vj] + T.Cast("int32", a[vi, vk]) * T.Cast("int32", b[vk, vj])

    @T.prim_func(s_tir=True)
    def sums_under_one_loop(
        x: T.Buffer((8, 16), "float32"), y: T.Buffer((16,), "float32"), z: T.Buffer((8,), "float32")
    ):
        for r in T.serial(8):
            for j in T.serial(16):
                with T.sblock("y"):
                    vr, vj = T.axis.remap("RS", [r, j])
                    with T.init():
                        y[vj] = T.float32(0)
                    y[vj] = y[vj] + x[vr, vj]
            with T.sblock("z"):
                vr = T.axis.spatial(8, r)
                z[vr] = x[vr, 0]

    @T.prim_func(s_tir=True)
    def added_to(x: T.Buffer((8, 16), "float32"), y: T.Buffer((16,), "float32")):
        for r, j in T.grid(8, 16):
            with T.sblock("y"):
                vr, vj = T.axis.remap("RS", [r, j])
                y[vj] = y[vj] + x[vr, vj]


PAIRS = {
    "sums of columns": (columns, columns_by_rows, lambda x: x.sum(axis=0)),
    "sums over a middle axis": (middle, middle_by_rows, lambda x: x.sum(axis=1)),
    "sums over two axes": (planes, planes_by_columns, lambda x: x.sum(axis=(1, 2))),
    "sums of rows": (rows, rows_by_columns, lambda x: x.sum(axis=1)),
}


def module(function):
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def applied(function):
    sch = Schedule(module(function))
    (block,) = root_blocks(sch)
    (ordered,) = AxesInOrder().apply(sch, block)
    return sch, ordered


@pytest.mark.parametrize("name", PAIRS)
def test_the_loop_nest_becomes_the_usual_one(name):
    usual, other, _ = PAIRS[name]
    sch, ordered = applied(other)
    assert not tvm_ffi.structural_equal(sch.mod, module(usual))
    tvm.ir.assert_structural_equal(ordered.mod, module(usual))


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_in_order_stays_as_it_is(name):
    usual, _, _ = PAIRS[name]
    sch, ordered = applied(usual)
    assert ordered.same_as(sch)


@pytest.mark.parametrize("name", PAIRS)
def test_design_spaces_are_those_of_the_usual_order_and_right(name, caplog):
    usual, other, value = PAIRS[name]
    found = sketches(module(other), HASWELL)
    assert [one.describe() for one in found] == [
        one.describe() for one in sketches(module(usual), HASWELL)
    ]
    assert "does not fit" not in caplog.text
    rng = np.random.default_rng(0)
    shapes = [[int(extent) for extent in buffer.shape] for buffer in other.params]
    x, y = (rng.standard_normal(shape).astype("float32") for shape in shapes)
    for sketch in found:
        for config in np.unique(sketch.sample(3, rng), axis=0):
            result = run_once(sketch.schedule(config).mod, HASWELL, [x, y])[-1]
            np.testing.assert_allclose(result, value(x), rtol=1e-4, atol=1e-4)


def test_long_sums_of_columns_have_both_designs():
    """Fused over the results, and in parts for the cores; none was left of them."""
    assert len(sketches(module(columns_by_rows), HASWELL)) == 2


def test_a_product_written_as_outer_products_has_its_instruction():
    usual, found = (
        [
            (sketch.names, {statement.intrinsic for statement in sketch.statements})
            for sketch in sketches(module(function), ZEN4)
        ]
        for function in (product, outer_products)
    )
    assert found == usual
    assert any(intrinsic for _, intrinsics in found for intrinsic in intrinsics)


def test_threads_of_a_gpu_share_the_results():
    """TVM binds the loops outside of the first reduced one, of which there is none here."""
    usual, found = (
        [one.describe() for one in sketches(module(function), CUDA)]
        for function in (columns, columns_by_rows)
    )
    assert found == usual


def test_records_keep_the_order(tmp_path):
    """As JSON, from which TVM replays it."""
    mod = module(middle_by_rows)
    sketch = sketches(mod, HASWELL)[0]
    schedule = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])
    database = ms.database.JSONDatabase(work_dir=str(tmp_path))
    workload = database.commit_workload(mod)
    database.commit_tuning_record(
        ms.database.TuningRecord(schedule.trace, workload, [1.0], HASWELL)
    )
    (record,) = ms.database.JSONDatabase(work_dir=str(tmp_path)).get_all_tuning_records()
    again = Schedule(mod)
    record.trace.apply_to_schedule(again, remove_postproc=False)
    tvm.ir.assert_structural_equal(again.mod, schedule.mod)


@pytest.mark.parametrize("function", [sums_under_one_loop, added_to])
def test_loops_of_several_blocks_and_what_is_no_reduction_stay(function):
    sch = Schedule(module(function))
    before = sch.mod.script()
    for block in root_blocks(sch):
        assert [one.mod.script() for one in AxesInOrder().apply(sch, block)] == [before]


def test_only_reductions_have_an_order():
    sch = Schedule(module(added_to))
    (block,) = root_blocks(sch)
    assert axes_in_order(sch, block) is None
