"""Compute locations of which two random tilings show too little."""

import numpy as np
import tvm
from tvm.script import tirx as T

from mschedx import compat
from mschedx.hardware import host_target
from mschedx.space import InvalidSchedule, sketches

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


def test_a_location_is_offered_where_it_is_said_to_be():
    for function in (reduced_twice, loops_that_vary):
        mod, rng = tvm.IRModule({"main": function}), np.random.default_rng(0)
        for sketch in sketches(mod, host_target()):
            outcomes = sketch.schedules(sketch.sample(8, rng))
            assert not [o for o in outcomes if isinstance(o, InvalidSchedule)]
