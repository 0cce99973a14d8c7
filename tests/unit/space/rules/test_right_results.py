"""Functions of which some sketch used to compute something else than the function."""

import numpy as np
import pytest
import tvm
from tvm.script import tirx as T
from unoptimised import unoptimised

from mschedx import compat, measure
from mschedx.hardware import host_target
from mschedx.space import sketches

with compat.fast_script():

    @T.prim_func(s_tir=True)
    def product_is_an_output(
        x: T.Buffer((4, 3), "float64"),
        w: T.Buffer((3, 3), "float64"),
        y: T.Buffer((4, 3), "float64"),
        z: T.Buffer((4, 3), "float64"),
    ):
        for i, j, k in T.grid(4, 3, 3):
            with T.sblock("y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    y[vi, vj] = T.float64(0)
                y[vi, vj] = y[vi, vj] + w[vk, vj] * x[vi, vk]
        for i, j in T.grid(4, 3):
            with T.sblock("z"):
                vi, vj = T.axis.remap("SS", [i, j])
                z[vi, vj] = y[vi, vj] * T.float64(2)

    @T.prim_func(s_tir=True)
    def operand_is_an_output(
        x: T.Buffer((8, 16), "float32"),
        w: T.Buffer((16, 16), "float32"),
        p: T.Buffer((8, 16), "float32"),
        y: T.Buffer((8, 16), "float32"),
    ):
        for i, j in T.grid(8, 16):
            with T.sblock("p"):
                vi, vj = T.axis.remap("SS", [i, j])
                p[vi, vj] = T.if_then_else(vj < 12, x[vi, vj], T.float32(0))
        for i, j, k in T.grid(8, 16, 16):
            with T.sblock("y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    y[vi, vj] = T.float32(0)
                y[vi, vj] = y[vi, vj] + p[vi, vk] * w[vk, vj]

    @T.prim_func(s_tir=True)
    def product_is_shifted(
        x: T.Buffer((8, 16), "float32"),
        w: T.Buffer((16, 16), "float32"),
        z: T.Buffer((8, 16), "float32"),
    ):
        y = T.sblock_alloc_buffer((8, 16))
        for i, j, k in T.grid(8, 16, 16):
            with T.sblock("y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    y[vi, vj] = T.float32(0)
                y[vi, vj] = y[vi, vj] + x[vi, vk] * w[vk, vj]
        for i, j in T.grid(8, 16):
            with T.sblock("z"):
                vi, vj = T.axis.remap("SS", [i, j])
                z[vi, vj] = T.if_then_else(vi > 0, y[vi - 1, vj], T.float32(7))

    @T.prim_func(s_tir=True)
    def behind_a_minimum(
        x: T.Buffer((3, 5, 32, 3), "float32"),
        x2: T.Buffer((5, 32, 3), "float32"),
        w: T.Buffer((2, 3), "float32"),
        z: T.Buffer((5, 32, 6), "float32"),
        y: T.Buffer((3, 5, 32, 2), "float32"),
    ):
        t = T.sblock_alloc_buffer((5, 32, 3))
        for i, j, k, r in T.grid(5, 32, 3, 3):
            with T.sblock("t"):
                vi, vj, vk, vr = T.axis.remap("SSSR", [i, j, k, r])
                with T.init():
                    t[vi, vj, vk] = T.float32(3e38)
                t[vi, vj, vk] = T.min(t[vi, vj, vk], x[vr, vi, vj, vk])
        for i, j, k in T.grid(5, 32, 6):
            with T.sblock("z"):
                vi, vj, vk = T.axis.remap("SSS", [i, j, k])
                z[vi, vj, vk] = T.if_then_else(vk < 3, t[vi, vj, vk], x2[vi, vj, vk - 3])
        for n, i, j, k, r in T.grid(3, 5, 32, 2, 3):
            with T.sblock("y"):
                vn, vi, vj, vk, vr = T.axis.remap("SSSSR", [n, i, j, k, r])
                with T.init():
                    y[vn, vi, vj, vk] = T.float32(0)
                y[vn, vi, vj, vk] = y[vn, vi, vj, vk] + w[vk, vr] * x[vn, vi, vj, vr]

    @T.prim_func(s_tir=True)
    def turned_around(x: T.Buffer((8, 8), "float64"), z: T.Buffer((8, 8), "float64")):
        y = T.sblock_alloc_buffer((8, 8), "float64")
        for i, j in T.grid(8, 8):
            with T.sblock("y"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi, vj] = x[vi // 2, vj]
        for i, j in T.grid(8, 8):
            with T.sblock("z"):
                vi, vj = T.axis.remap("SS", [i, j])
                z[vi, vj] = y[7 - vi, vj]

    @T.prim_func(s_tir=True)
    def axis_of_two_loops(
        x: T.Buffer((30, 31), "int64"),
        w: T.Buffer((7, 31), "int64"),
        y: T.Buffer((30, 7), "int64"),
    ):
        for o, i, j, k in T.grid(8, 4, 7, 31):
            with T.sblock("y"):
                vi = T.axis.spatial(30, o * 4 + i)
                vj, vk = T.axis.remap("SR", [j, k])
                T.where(o * 4 + i < 30)
                with T.init():
                    y[vi, vj] = T.int64(0)
                y[vi, vj] = y[vi, vj] + x[vi, vk] * w[vj, vk]

    @T.prim_func(s_tir=True)
    def nothing_at_all(
        x: T.Buffer((4, 0), "float32"),
        y: T.Buffer((4, 0), "float32"),
        z: T.Buffer((4,), "float32"),
    ):
        for i, j in T.grid(4, 0):
            with T.sblock("y"):
                vi, vj = T.axis.remap("SS", [i, j])
                y[vi, vj] = x[vi, vj] * T.float32(2)
        for i in T.grid(4):
            with T.sblock("z"):
                vi = T.axis.spatial(4, i)
                z[vi] = T.float32(1)

    @T.prim_func(s_tir=True)
    def maximum_is_an_output(
        x: T.Buffer((2, 64, 8), "float32"),
        w: T.Buffer((31, 8), "float32"),
        m: T.Buffer((64, 8), "float32"),
        y: T.Buffer((64, 31), "float32"),
    ):
        for i, j, k in T.grid(64, 8, 2):
            with T.sblock("m"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    m[vi, vj] = T.min_value("float32")
                m[vi, vj] = T.max(m[vi, vj], x[vk, vi, vj])
        for i, j, k in T.grid(64, 31, 8):
            with T.sblock("y"):
                vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                with T.init():
                    y[vi, vj] = T.float32(0)
                y[vi, vj] = y[vi, vj] + m[vi, vk] * w[vj, vk]


FUNCTIONS = {
    "a product that is an output itself": product_is_an_output,
    "an operand that is an output": operand_is_an_output,
    "a product that is read shifted": product_is_shifted,
    "a concatenation behind a minimum": behind_a_minimum,
    "a repetition, turned around": turned_around,
    "an axis of two loops and a predicate": axis_of_two_loops,
    "a maximum that is an output and an operand": maximum_is_an_output,
    "an axis without points": nothing_at_all,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_sketch_computes_the_function(name):
    function, rng = FUNCTIONS[name], np.random.default_rng(0)
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    for sketch in sketches(mod, host_target()):
        schedule = sketch.schedule(sketch.sample(1, rng)[0])
        assert [p.shape for p in schedule.mod["main"].params] == [p.shape for p in function.params]
        result = measure.verify(schedule, mod, unoptimised(host_target()))
        assert result.ok, f"{result.reason}\n{schedule.mod}"
