"""Vectors of one bfloat16 or float8, which TVM cannot lower, become loops for LLVM."""

import numpy as np
import pytest
import tvm
from spaces import module
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.script import tirx as T

from mschedx import compat, measure
from mschedx.hardware import host_target
from mschedx.space import sketches
from mschedx.space.analysis.exactness import check
from mschedx.space.design_spaces import generate
from mschedx.space.postprocs.uniform_stores import LEFT_TO_LLVM, UniformStores

UNIFORM = {
    "a constant": lambda x, i: tirx.const(2.0, x.dtype),
    "one element": lambda x, i: x[0],
    "of one element": lambda x, i: tirx.max(x[0] + x[1], x[2]),
    "one element for all lanes": lambda x, i: x[i // 8],
    "one number for all lanes": lambda x, i: tirx.Cast(x.dtype, i // 8),
    "a constant once simplified": lambda x, i: tirx.if_then_else(i < 99, x[0], x[i]),
}
VARYING = {
    "a copy": lambda x, i: x[i],
    "backwards": lambda x, i: x[15 - i],
    "one of two": lambda x, i: tirx.if_then_else(i < 3, x[i], tirx.const(0.0, x.dtype)),
    "one that varies within lanes": lambda x, i: x[i // 2],
    "an element and one for all": lambda x, i: x[i] + x[0],
}


def lanes_of_four(value, dtype="bfloat16"):
    """Sixteen numbers in vectors of four, and the function they are of."""
    x = te.placeholder((16,), dtype, name="x")
    mod = module([x, te.compute((16,), lambda i: value(x, i), name="y")])
    schedule = Schedule(mod)
    (loop,) = schedule.get_loops(schedule.get_sblock("y"))
    schedule.vectorize(schedule.split(loop, [None, 4])[1])
    return schedule, mod


def left_to_llvm(schedule):
    block = schedule.get_sblock("y")
    return [LEFT_TO_LLVM in schedule.get(loop).annotations for loop in schedule.get_loops(block)]


@pytest.mark.parametrize("value", UNIFORM.values(), ids=UNIFORM)
def test_uniform_vectors_are_right_once_they_are_loops(value):
    schedule, mod = lanes_of_four(value)
    with pytest.raises(Exception, match="dtype mismatch on BufferStore"):
        tvm.compile(schedule.mod, target=host_target())  # or else TVM is right: drop the postproc
    assert UniformStores().apply(schedule)
    assert left_to_llvm(schedule) == [False, True]
    assert measure.verify(schedule, mod, host_target()).ok


@pytest.mark.parametrize("value", VARYING.values(), ids=VARYING)
def test_other_vectors_stay(value):
    schedule, mod = lanes_of_four(value)
    before = len(schedule.trace.insts)
    assert UniformStores().apply(schedule)
    assert len(schedule.trace.insts) == before
    assert measure.verify(schedule, mod, host_target()).ok


@pytest.mark.parametrize(
    ("dtype", "changed"), [("float8_e4m3fn", True), ("float16", False), ("int16", False)]
)
def test_only_types_that_are_stored_as_integers_are_concerned(dtype, changed):
    schedule, _ = lanes_of_four(UNIFORM["one element"], dtype)
    assert UniformStores().apply(schedule)
    assert left_to_llvm(schedule) == [False, changed]
    tvm.compile(schedule.mod, target=host_target())


def test_a_second_time_there_is_nothing_to_do():
    schedule, _ = lanes_of_four(UNIFORM["a constant"])
    UniformStores().apply(schedule)
    before = len(schedule.trace.insts)
    UniformStores().apply(schedule)
    assert len(schedule.trace.insts) == before


def test_the_loop_of_an_outer_block():
    schedule, mod = lanes_of_four(UNIFORM["a constant"])
    schedule.blockize(schedule.get_loops(schedule.get_sblock("y"))[0])
    assert UniformStores().apply(schedule)
    assert left_to_llvm(schedule) == [False, True]
    assert measure.verify(schedule, mod, host_target()).ok


with compat.fast_script():

    @T.prim_func(s_tir=True)
    def two_in_one_loop(
        x: T.Buffer((16,), "bfloat16"),
        y: T.Buffer((16,), "bfloat16"),
        z: T.Buffer((16,), "bfloat16"),
    ):
        for i0 in range(4):
            for i1 in T.vectorized(4):
                with T.sblock("y"):
                    i = T.axis.spatial(16, i0 * 4 + i1)
                    y[i] = x[0]
                with T.sblock("z"):
                    i = T.axis.spatial(16, i0 * 4 + i1)
                    z[i] = x[1]


def test_several_blocks_in_one_loop():
    mod = tvm.IRModule({"main": two_in_one_loop})
    schedule = Schedule(mod)
    assert UniformStores().apply(schedule)
    assert left_to_llvm(schedule) == [False, True]
    tvm.compile(schedule.mod, target=host_target())


def test_threads_are_left_alone():
    schedule, _ = lanes_of_four(UNIFORM["a constant"])
    outer, _ = schedule.get_loops(schedule.get_sblock("y"))
    schedule.bind(outer, "threadIdx.x")
    UniformStores().apply(schedule)
    assert left_to_llvm(schedule) == [False, False]


def constant(m=64):
    x = te.placeholder((m,), "float64", name="x")
    return module([x, te.compute((m,), lambda i: tirx.const(0.5, "bfloat16"), name="y")])


def product(m=7, n=64, k=2):
    """With a sum, whose beginning is a constant, and rows that are read by column."""
    x, w = (
        te.placeholder(shape, "bfloat16", name) for shape, name in (((m, k), "x"), ((n, k), "w"))
    )
    r = te.reduce_axis((0, k), name="r")
    return module([x, w, te.compute((m, n), lambda i, j: te.sum(w[j, r] * x[i, r], r), name="y")])


def sums_of_rows(n=4, k=64):
    """Cut into several sums, whose beginnings are blocks of one name."""
    x, r = te.placeholder((n, k), "bfloat16", name="x"), te.reduce_axis((0, k), name="r")
    return module([x, te.compute((n,), lambda i: te.sum(x[i, r], r), name="y")])


def repeated(m=16):
    x = te.placeholder((m,), "bfloat16", name="x")
    return module([x, te.compute((8 * m,), lambda i: x[i // 8], name="y")])


@pytest.mark.parametrize("space", [None, "post-order-apply"])
@pytest.mark.parametrize("make", [constant, product, repeated, sums_of_rows])
def test_sketches_of_every_space_compute_the_function_and_say_what_they_do(make, space):
    mod, rng = make(), np.random.default_rng(0)
    for sketch in sketches(mod, host_target(), space):
        configs = sketch.sample(4, rng)
        verdict = check(sketch.design, sketch.analysis, configs, lowering=len(configs))
        assert not verdict.wrong
        for config in configs[:2]:
            assert measure.verify(sketch.schedule(config), mod, host_target()).ok


def test_postprocs_of_every_space_have_it():
    for space in (None, "post-order-apply"):
        schedule, mod = lanes_of_four(UNIFORM["a constant"])
        with compat.only_intrinsics(host_target()):
            _, _, postprocs = generate(mod, host_target(), space)
        postprocs.apply(schedule)
        assert left_to_llvm(schedule) == [False, True]
