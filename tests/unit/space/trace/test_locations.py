"""Compute locations of which two random tilings show too little."""

import numpy as np
import pytest
import tvm
from spaces import LLVM, chained_sums, module
from tvm import te, tirx
from tvm.script import tirx as T

from mschedx import compat, measure
from mschedx.hardware import host_target
from mschedx.inputs import normalize_mod
from mschedx.space import InvalidSchedule, sketches
from mschedx.space.trace import locations
from mschedx.space.trace.instructions import replay

with compat.fast_script():

    @T.prim_func(s_tir=True)
    def reduced_twice(
        x: T.Buffer((3,), "float32"), w: T.Buffer((3, 3), "float32"), y: T.Buffer((), "float32")
    ):
        t = T.sblock_alloc_buffer((3,))
        for o, i, k in T.grid(1, 4, 3):
            with T.sblock("t"):
                vi = T.axis.spatial(3, o * 4 + i)
                vk = T.axis.reduce(3, k)
                T.where(o * 4 + i < 3)
                with T.init():
                    t[vi] = T.float32(0)
                t[vi] = t[vi] + x[vk] * w[vi, vk]
        for k in T.grid(3):
            with T.sblock("y"):
                vk = T.axis.reduce(3, k)
                with T.init():
                    y[()] = T.min_value("float32")
                y[()] = T.max(y[()], t[vk])

    @T.prim_func(s_tir=True)
    def loops_that_vary(x: T.Buffer((3, 32), "float32"), y: T.Buffer((3, 35), "float32")):
        t = T.sblock_alloc_buffer((3, 32))
        u = T.sblock_alloc_buffer((3, 34))
        z = T.sblock_alloc_buffer((3, 35))
        for i, j in T.grid(3, 32):
            with T.sblock("t"):
                vi, vj = T.axis.remap("SS", [i, j])
                t[vi, vj] = T.sigmoid(x[vi, vj])
        for i, j in T.grid(3, 34):
            with T.sblock("u"):
                vi, vj = T.axis.remap("SS", [i, j])
                u[vi, vj] = T.if_then_else(vj < 32, t[vi, vj], T.float32(0))
        for i, j, k in T.grid(3, 35, 2):
            with T.sblock("z"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    z[vi, vj] = T.float32(-1e30)
                z[vi, vj] = T.max(
                    z[vi, vj],
                    T.if_then_else(
                        T.And(vj + vk >= 1, vj + vk < 35), u[vi, vj + vk - 1], T.float32(0)
                    ),
                )
        for i, j in T.grid(3, 35):
            with T.sblock("y"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi, vj] = T.sqrt(T.abs(z[vi, vj]))

    @T.prim_func(s_tir=True)
    def concatenated(
        x: T.Buffer((5, 16), "float32"),
        w: T.Buffer((2, 16), "float32"),
        more: T.Buffer((1, 2), "float32"),
        v: T.Buffer((2, 1), "float32"),
        z: T.Buffer((6, 1), "float32"),
    ):
        t = T.sblock_alloc_buffer((5, 2))
        u = T.sblock_alloc_buffer((6, 2))
        for o, i, j, k in T.grid(2, 4, 2, 16):
            with T.sblock("t"):
                vi = T.axis.spatial(5, o * 4 + i)
                vj, vk = T.axis.remap("SR", [j, k])
                T.where(o * 4 + i < 5)
                with T.init():
                    t[vi, vj] = T.float32(0)
                t[vi, vj] = t[vi, vj] + w[vj, vk] * x[vi, vk]
        for i, j in T.grid(6, 2):
            with T.sblock("u"):
                vi, vj = T.axis.remap("SS", [i, j])
                u[vi, vj] = T.if_then_else(vi < 5, t[vi, vj], more[vi - 5, vj])
        for i, j, k in T.grid(6, 1, 2):
            with T.sblock("z"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    z[vi, vj] = T.float32(0)
                z[vi, vj] = z[vi, vj] + u[vi, vk] * v[vk, vj]


def where_the_largest_are():
    """Positions of maxima, cut off, in a product: at some places of one the others have none."""

    def later(a, b):
        first = tirx.any(a[1] > b[1], tirx.all(a[1] == b[1], a[0] < b[0]))
        return tirx.Select(first, a[0], b[0]), tirx.Select(first, a[1], b[1])

    largest = te.comm_reducer(
        later, lambda at, value: (tirx.const(-1, at), tirx.min_value(value)), name="largest"
    )
    x, w = te.placeholder((3, 4), "int32", name="x"), te.placeholder((3, 4), "int32", name="w")
    k, r = te.reduce_axis((0, 3), name="k"), te.reduce_axis((0, 4), name="r")
    at, value = te.compute((4,), lambda i: largest((k, x[k, i]), axis=k), name="at")
    cut = te.compute((4,), lambda i: tirx.min(at[i], tirx.const(1, "int32")), name="cut")
    y = te.compute((3,), lambda i: te.sum(cut[r] * w[i, r], r), name="y")
    return [x, w, value, cut, y]


CASES = {
    "reduced twice": tvm.IRModule({"main": reduced_twice}),
    "loops that vary": tvm.IRModule({"main": loops_that_vary}),
    "products around a concatenation": normalize_mod(concatenated),
    "sums of sums": module(chained_sums()),
    "places that no config reaches": module(where_the_largest_are()),
}


@pytest.mark.parametrize("case", CASES)
def test_a_location_is_offered_where_it_is_said_to_be(case):
    rng = np.random.default_rng(0)
    for sketch in sketches(CASES[case], host_target()):
        outcomes = sketch.schedules(sketch.sample(12, rng))
        assert not [o for o in outcomes if isinstance(o, InvalidSchedule)]
    assert measure.verify(outcomes[0], CASES[case], host_target()).ok


def test_nobody_samples_to_learn_what_is_offered(monkeypatch):
    """Every sample tries every loop: opening four places took minutes of them."""
    kinds, made = [], []

    def watched(mod, trace, *arguments):
        kinds.extend(inst.kind.name for inst in trace.insts)
        made.append(replay(mod, trace, *arguments))
        return made[-1]

    monkeypatch.setattr(locations, "replay", watched)
    found = sketches(module(chained_sums()), LLVM, "post-order-apply")
    assert len({tuple(sketch.design.locations.items()) for sketch in found}) > 12
    assert made
    assert "GetLoops" in kinds, "chosen locations are named"
    assert "SampleComputeLocation" not in kinds
