"""Vectors that TVM cannot lower, of one bfloat16 or to booleans in between, become loops."""

import numpy as np
import pytest
import tvm
from spaces import module
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.script import tirx as T
from unoptimised import unoptimised

from mschedx import compat, measure
from mschedx.hardware import host_target
from mschedx.space import sketches
from mschedx.space.analysis.exactness import check
from mschedx.space.annotation_keys import LEFT_TO_LLVM
from mschedx.space.design_spaces import generate
from mschedx.space.postprocs.loops_for_llvm import LoopsForLLVM

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


def left_to_llvm(schedule, name="y"):
    block = schedule.get_sblock(name)
    return [LEFT_TO_LLVM in schedule.get(loop).annotations for loop in schedule.get_loops(block)]


@pytest.mark.parametrize("value", UNIFORM.values(), ids=UNIFORM)
def test_uniform_vectors_are_right_once_they_are_loops(value):
    schedule, mod = lanes_of_four(value)
    with pytest.raises(Exception, match="dtype mismatch on BufferStore"):
        tvm.compile(schedule.mod, target=host_target())  # or else TVM is right: drop the postproc
    assert LoopsForLLVM().apply(schedule)
    assert left_to_llvm(schedule) == [False, True]
    assert measure.verify(schedule, mod, host_target()).ok


@pytest.mark.parametrize("value", VARYING.values(), ids=VARYING)
def test_other_vectors_stay(value):
    schedule, mod = lanes_of_four(value)
    before = len(schedule.trace.insts)
    assert LoopsForLLVM().apply(schedule)
    assert len(schedule.trace.insts) == before
    assert measure.verify(schedule, mod, host_target()).ok


@pytest.mark.parametrize(
    ("dtype", "changed"), [("float8_e4m3fn", True), ("float16", False), ("int16", False)]
)
def test_only_types_that_are_stored_as_integers_are_concerned(dtype, changed):
    schedule, _ = lanes_of_four(UNIFORM["one element"], dtype)
    assert LoopsForLLVM().apply(schedule)
    assert left_to_llvm(schedule) == [False, changed]
    tvm.compile(schedule.mod, target=host_target())


def test_a_second_time_there_is_nothing_to_do():
    schedule, _ = lanes_of_four(UNIFORM["a constant"])
    LoopsForLLVM().apply(schedule)
    before = len(schedule.trace.insts)
    LoopsForLLVM().apply(schedule)
    assert len(schedule.trace.insts) == before


def test_the_loop_of_an_outer_block():
    schedule, mod = lanes_of_four(UNIFORM["a constant"])
    schedule.blockize(schedule.get_loops(schedule.get_sblock("y"))[0])
    assert LoopsForLLVM().apply(schedule)
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
    assert LoopsForLLVM().apply(schedule)
    assert left_to_llvm(schedule) == [False, True]
    tvm.compile(schedule.mod, target=host_target())


def test_threads_are_left_alone():
    schedule, _ = lanes_of_four(UNIFORM["a constant"])
    outer, _ = schedule.get_loops(schedule.get_sblock("y"))
    schedule.bind(outer, "threadIdx.x")
    LoopsForLLVM().apply(schedule)
    assert left_to_llvm(schedule) == [False, False]


WRONG = {
    "negated": lambda t, x: tirx.Not(t),
    "negated and counted": lambda t, x: tirx.Cast("int32", tirx.Not(t)),
}
REFUSED = {
    "copied": lambda t, x: t,
    "and": lambda t, x: tirx.And(t, x < 0),
    "or": lambda t, x: tirx.Or(t, x < 0),
    "chooses": lambda t, x: tirx.Select(t, x, -x),
    "chosen": lambda t, x: tirx.Select(x < 0, t, x < 1),
}


def booleans_in_between(value, stored=4, loaded=4):
    """Sixteen booleans that a second block reads, both in vectors."""
    x = te.placeholder((16,), "float32", name="x")
    t = te.compute((16,), lambda i: x[i] > 0, name="t")
    mod = module([x, te.compute((16,), lambda i: value(t[i], x[i]), name="y")])
    schedule = Schedule(mod)
    for name, lanes in (("t", stored), ("y", loaded)):
        (loop,) = schedule.get_loops(schedule.get_sblock(name))
        schedule.vectorize(schedule.split(loop, [None, lanes])[1])
    return schedule, mod


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_tvm_flips_all_bits_of_booleans_in_between(value):
    schedule, mod = booleans_in_between(value)
    assert not measure.verify(schedule, mod, host_target()).ok  # or else TVM is right
    assert LoopsForLLVM().apply(schedule)
    assert (left_to_llvm(schedule, "t"), left_to_llvm(schedule)) == ([False, True], [False, False])
    assert measure.verify(schedule, mod, host_target()).ok


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_tvm_cannot_compile_booleans_in_between(value):
    schedule, mod = booleans_in_between(value)
    with pytest.raises(Exception, match=r"mismatch|not of the same type|kDLBool"):
        tvm.compile(schedule.mod, target=host_target())  # or else TVM is right
    assert LoopsForLLVM().apply(schedule)
    assert measure.verify(schedule, mod, host_target()).ok


def test_booleans_that_the_caller_gives_stay_vectors():
    x = te.placeholder((16,), "bool", name="x")
    mod = module([x, te.compute((16,), lambda i: tirx.Not(x[i]), name="y")])
    schedule = Schedule(mod)
    schedule.vectorize(schedule.get_loops(schedule.get_sblock("y"))[0])
    assert LoopsForLLVM().apply(schedule)
    assert left_to_llvm(schedule) == [False]
    assert measure.verify(schedule, mod, host_target()).ok


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


def counted(m=26, n=11):
    """Booleans that a sum in vectors reads."""
    x, w = te.placeholder((n, m), "bool", name="x"), te.placeholder((m, n), "bool", name="w")
    i, j = te.reduce_axis((0, m), name="i"), te.reduce_axis((0, n), name="j")
    t = te.compute((m, n), lambda i, j: tirx.Not(x[j, i]), name="t")
    both = tirx.Cast("int32", tirx.And(t[i, j], w[i, j]))
    return module([x, w, te.compute((), lambda: te.sum(both, [i, j]), name="y")])


def none_above(m=16, n=64):
    """A reduction of booleans, columns in vectors, that is negated."""
    x, i = te.placeholder((m, n), "float32", name="x"), te.reduce_axis((0, m), name="i")
    any_of = te.comm_reducer(lambda a, b: tirx.Or(a, b), lambda dtype: tirx.const(False, dtype))
    t = te.compute((n,), lambda j: any_of(x[i, j] > 1, i), name="t")
    return module([x, te.compute((n,), lambda j: tirx.Not(t[j]), name="y")])


@pytest.mark.parametrize(("make", "space"), [(counted, "post-order-apply"), (none_above, None)])
def test_spaces_have_vectors_of_booleans_in_between(make, space):
    mod, rng = make(), np.random.default_rng(0)
    programs = [
        sketch.schedule(config).mod.script()
        for sketch in sketches(mod, host_target(), space)
        for config in sketch.sample(4, rng)
    ]
    assert any(LEFT_TO_LLVM in program for program in programs)


@pytest.mark.parametrize("space", [None, "post-order-apply"])
@pytest.mark.parametrize("make", [constant, product, repeated, sums_of_rows, counted, none_above])
def test_sketches_of_every_space_compute_the_function_and_say_what_they_do(make, space):
    mod, rng = make(), np.random.default_rng(0)
    for sketch in sketches(mod, host_target(), space):
        configs = sketch.sample(4, rng)
        verdict = check(sketch.design, sketch.analysis, configs, lowering=len(configs))
        assert not verdict.wrong
        for config in configs[:2]:
            assert measure.verify(sketch.schedule(config), mod, unoptimised(host_target())).ok


def test_postprocs_of_every_space_have_it():
    for space in (None, "post-order-apply"):
        schedule, mod = lanes_of_four(UNIFORM["a constant"])
        with compat.only_intrinsics(host_target()):
            _, _, postprocs = generate(mod, host_target(), space)
        postprocs.apply(schedule)
        assert left_to_llvm(schedule) == [False, True]
