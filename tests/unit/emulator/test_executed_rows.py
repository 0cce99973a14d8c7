"""Rows in global memory that are longer than what is read or written of them, on tensor cores."""

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.script import tirx as T
from tvm.target import Target

from mschedx.emulator.check import check, reference
from mschedx.space import sketches
from mschedx.space.analysis.read.probe import random_configs

A100 = Target("nvidia/nvidia-a100")


def longer_operands(extra, dtype="float16", out="float32"):
    """``A[:, :64] · B[:, :64]``."""
    a, b = (te.placeholder((64, 64 + extra), dtype, name) for name in "AB")
    r = te.reduce_axis((0, 64), "r")

    def element(i, j):
        return te.sum(a[i, r].astype(out) * b[r, j].astype(out), axis=r)

    return te.create_prim_func([a, b, te.compute((64, 64), element, name="C")])


def sliced_operand(offset):
    """``A[:, offset : offset + 64]`` in a block of its own, which the copy takes in."""
    a, b = te.placeholder((64, 72), "float16", "A"), te.placeholder((64, 64), "float16", "B")
    s = te.compute((64, 64), lambda i, j: a[i, j + offset], name="S")
    r = te.reduce_axis((0, 64), "r")

    def element(i, j):
        return te.sum(s[i, r].astype("float32") * b[r, j].astype("float32"), axis=r)

    return te.create_prim_func([a, b, te.compute((64, 64), element, name="C")])


def computed_operand():
    """``relu(A) · B``, where the copy computes."""
    a, b = (te.placeholder((64, 64), "float16", name) for name in "AB")
    s = te.compute((64, 64), lambda *at: te.max(a[at], te.const(0, "float16")), name="S")
    r = te.reduce_axis((0, 64), "r")

    def element(i, j):
        return te.sum(s[i, r].astype("float32") * b[r, j].astype("float32"), axis=r)

    return te.create_prim_func([a, b, te.compute((64, 64), element, name="C")])


def longer_result(extra):
    """``C[:, :64] = A · B``; the rest of C stays."""
    width = 64 + extra

    @T.prim_func(s_tir=True)
    def main(x: T.handle, y: T.handle, z: T.handle):
        a = T.match_buffer(x, (64, 64), "float16")
        b = T.match_buffer(y, (64, 64), "float16")
        c = T.match_buffer(z, (64, width), "float32")
        for i, j, r in T.grid(64, 64, 64):
            with T.sblock("C"):
                vi, vj, vr = T.axis.remap("SSR", [i, j, r])
                with T.init():
                    c[vi, vj] = T.float32(0)
                c[vi, vj] = c[vi, vj] + T.Cast("float32", a[vi, vr]) * T.Cast("float32", b[vr, vj])

    return main


FUNCTIONS = {
    "operands-6": longer_operands(6),
    "operands-3": longer_operands(3),
    "operands-8": longer_operands(8),
    "operands-bytes": longer_operands(6, "int8", "int32"),
    "slice-3": sliced_operand(3),
    "slice-4": sliced_operand(4),
    "slice-8": sliced_operand(8),
    "computed": computed_operand(),
    "result-2": longer_result(2),
    "result-1": longer_result(1),
    "result-8": longer_result(8),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_vectors_are_aligned_and_numbers_right(name, tmp_path):
    mod = tvm.IRModule({"main": FUNCTIONS[name].with_attr("global_symbol", "main")})
    rng = np.random.default_rng(0)
    expected, executed = reference(mod, rng), 0
    for sketch in sketches(mod, A100):
        outcomes = sketch.schedules(random_configs(sketch.design, 12, rng))
        for schedule in [one for one in outcomes if isinstance(one, Schedule)][:2]:
            checked = check(schedule.mod, A100, expected, tmp_path)
            assert (checked.wrong, checked.unshown) == ("", "")
            assert [str(fault) for fault in checked.execution.faults] == []
            executed += 1
    assert executed >= 2
