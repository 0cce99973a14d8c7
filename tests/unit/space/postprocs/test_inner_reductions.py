"""Sums that are computed inside other sums start from nothing every time."""

import numpy as np
import pytest
import tvm
from spaces import LLVM, module
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.postproc import Postproc
from tvm.script import tirx as T
from unoptimised import unoptimised

from mschedx import compat, measure
from mschedx.hardware import host_target
from mschedx.space import sketches
from mschedx.space.analysis.exactness import check
from mschedx.space.design_spaces import generate
from mschedx.space.postprocs.inner_reductions import InnerReductions
from mschedx.space.target import for_target

with compat.fast_script():

    @T.prim_func(s_tir=True)
    def one_term(a: T.Buffer((8, 1), "float32"), b: T.Buffer((8, 4), "float32"), c: T.Buffer((4,))):
        t = T.sblock_alloc_buffer((8,))
        for i, k in T.grid(4, 8):
            with T.sblock("t"):
                vj = T.axis.spatial(8, k)
                vr = T.axis.reduce(1, 0)
                with T.init():
                    t[vj] = T.float32(0)
                t[vj] = t[vj] + a[vj, vr]
            with T.sblock("c"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    c[vi] = T.float32(0)
                c[vi] = c[vi] + t[vk] * b[vk, vi]

    @T.prim_func(s_tir=True)
    def two_of_a_name(
        a: T.Buffer((8, 3), "float32"), b: T.Buffer((8, 4), "float32"), c: T.Buffer((4,))
    ):
        t, u = T.sblock_alloc_buffer((8,)), T.sblock_alloc_buffer((8,))
        for i, k in T.grid(4, 8):
            for r in range(3):
                with T.sblock("t"):
                    vj = T.axis.spatial(8, k)
                    vr = T.axis.reduce(3, r)
                    with T.init():
                        t[vj] = T.float32(0)
                    t[vj] = t[vj] + a[vj, vr]
            for r in range(3):
                with T.sblock("t"):
                    vj = T.axis.spatial(8, k)
                    vr = T.axis.reduce(3, r)
                    with T.init():
                        u[vj] = T.float32(1)
                    u[vj] = u[vj] * a[vj, vr]
            with T.sblock("c"):
                vi, vk = T.axis.remap("SR", [i, k])
                with T.init():
                    c[vi] = T.float32(0)
                c[vi] = c[vi] + (t[vk] + u[vk]) * b[vk, vi]


def sums_of_sums():
    a, b = te.placeholder((8, 5), name="a"), te.placeholder((8, 4), name="b")
    r, k = te.reduce_axis((0, 5), name="r"), te.reduce_axis((0, 8), name="k")
    t = te.compute((8,), lambda j: te.sum(a[j, r], r), name="t")
    c = te.compute((4,), lambda i: te.sum(t[k] * b[k, i], k), name="c")
    return module([a, b, c])


def windows_of_sums():
    a, r, w = te.placeholder((9, 3), name="a"), te.reduce_axis((0, 3)), te.reduce_axis((0, 2))
    t = te.compute((9,), lambda j: te.sum(a[j, r], r), name="t")
    c = te.compute((8,), lambda i: te.max(t[i + w], w), name="c")
    return module([a, c])


def inside(k0):
    """The inner sum below the outer one's loops ``k0`` and ``i``."""
    mod = sums_of_sums()
    schedule = Schedule(mod)
    i, k = schedule.get_loops(schedule.get_sblock("c"))
    outer, _ = schedule.split(k, [k0, None], preserve_unit_iters=True)
    schedule.reorder(outer, i)
    schedule.compute_at(schedule.get_sblock("t"), i, preserve_unit_loops=True)
    return schedule, mod


def theirs(schedule):
    rewrite = next(p for p in Postproc.create("llvm") if "RewriteReductionBlock" in str(p))
    assert rewrite.apply(schedule)


@pytest.mark.parametrize("k0", [1, 2])
def test_what_tvm_initialises_too_far_out_is_initialised_where_it_is(k0):
    schedule, mod = inside(k0)
    theirs(schedule)
    assert not measure.verify(schedule, mod, unoptimised(host_target())).ok, (
        "TVM is right now: drop the postproc"
    )
    schedule, mod = inside(k0)
    assert InnerReductions().apply(schedule)
    theirs(schedule)
    assert measure.verify(schedule, mod, unoptimised(host_target())).ok
    blocks = {str(schedule.get(b).name_hint) for b in schedule.get_child_blocks(root(schedule))}
    assert blocks == {"t_init", "t_update", "c_init", "c_update"}


def root(schedule):
    return schedule.get_sblock("root")


@pytest.mark.parametrize("function", [one_term, two_of_a_name], ids=["one_term", "two_of_a_name"])
def test_a_sum_without_a_loop_of_its_own_and_two_of_one_name(function):
    mod = tvm.IRModule({"main": function})
    schedule = Schedule(mod)
    i, k = schedule.get_loops(schedule.get_sblock("c"))
    schedule.reorder(k, i)
    assert InnerReductions().apply(schedule)
    theirs(schedule)
    assert measure.verify(schedule, mod, unoptimised(host_target())).ok


def test_what_tvm_does_right_is_left_to_it():
    mod = sums_of_sums()
    schedule = Schedule(mod)
    InnerReductions().apply(schedule)
    assert len(schedule.trace.insts) == 0
    outer = schedule.get_loops(schedule.get_sblock("c"))[0]
    schedule.compute_at(schedule.get_sblock("t"), outer)
    before = len(schedule.trace.insts)
    InnerReductions().apply(schedule)
    assert len(schedule.trace.insts) == before


def test_reductions_across_threads_are_left_alone():
    schedule, _ = inside(1)
    loops = schedule.get_loops(schedule.get_sblock("t"))
    schedule.bind(loops[-1], "threadIdx.x")
    before = len(schedule.trace.insts)
    InnerReductions().apply(schedule)
    assert len(schedule.trace.insts) == before


def deep(mod, target):
    """Sketches of TVM's space whose inner sum is below several loops of the outer one."""
    found = sketches(mod, target, "post-order-apply")
    return [sketch for sketch in found if max(sketch.design.locations.values()) > 1]


@pytest.mark.parametrize("make", [sums_of_sums, windows_of_sums])
def test_sketches_compute_what_the_function_computes(make):
    mod, rng = make(), np.random.default_rng(0)
    found = deep(mod, host_target())
    assert found
    for sketch in found[-4:]:
        config = sketch.sample(1, rng)[0]
        assert measure.verify(sketch.schedule(config), mod, unoptimised(host_target())).ok


@pytest.mark.parametrize("space", [None, "post-order-apply"])
def test_every_space_has_it(space):
    schedule, mod = inside(1)
    _, _, postprocs = generate(mod, host_target(), space)
    postprocs.apply(schedule)
    assert measure.verify(schedule, mod, unoptimised(host_target())).ok


def test_a_strategy_of_tvm_in_our_space_has_it_too():
    schedule, mod = inside(1)
    for postproc in for_target(host_target()).postprocs:
        assert postproc.apply(schedule)
    assert measure.verify(schedule, mod, unoptimised(host_target())).ok


def test_buffers_are_allocated_where_they_are_initialised():
    found = deep(sums_of_sums(), LLVM)[-3:]
    assert found
    for sketch in found:
        configs = sketch.sample(6, np.random.default_rng(1))
        verdict = check(sketch.design, sketch.analysis, configs, lowering=len(configs))
        assert verdict.wrong == {}
        assert verdict.lowered > 0
