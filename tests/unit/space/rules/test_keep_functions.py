"""Functions that have vectors stay blocks of their own, wherever they occur."""

import numpy as np
import pytest
import tvm
from tvm import te, topi
from tvm.s_tir import Schedule, Trace
from tvm.s_tir.meta_schedule import TuneContext
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.schedule_rule import ScheduleRule
from tvm.script import tirx as T
from tvm.target import Target

from mschedx import workloads
from mschedx.hardware import Hardware
from mschedx.space.opening import sketches
from mschedx.space.rules.guards import Guarded
from mschedx.space.rules.keep_functions import _feeds, keeps_functions
from mschedx.space.target import for_target

TARGET = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})


def silu(m, n):
    x = te.placeholder((m, n), "float32", "X")
    s = te.compute((m, n), lambda i, j: te.sigmoid(x[i, j]), name="S")
    y = te.compute((m, n), lambda i, j: x[i, j] * s[i, j], name="Y")
    return te.create_prim_func([x, y])


def biased_sigmoid(m, n):
    x, b = te.placeholder((m, n), "float32", "X"), te.placeholder((n,), "float32", "B")
    z = te.compute((m, n), lambda i, j: x[i, j] + b[j], name="Z")
    y = te.compute((m, n), lambda i, j: te.sigmoid(z[i, j]), name="Y")
    return te.create_prim_func([x, b, y])


def plain(m, n):
    x = te.placeholder((m, n), "float32", "X")
    y = te.compute((m, n), lambda i, j: te.exp(x[i, j]), name="Y")
    return te.create_prim_func([x, y])


@pytest.mark.parametrize(
    ("func", "intrinsic"),
    [
        (silu(6, 32), "mschedx_sigmoid_a_8_f32"),
        (biased_sigmoid(6, 32), "mschedx_sigmoid_a_plus_vector_8_f32"),
        (plain(6, 32), "mschedx_exp_a_8_f32"),
        (workloads.make("softmax", (12, 48)), "mschedx_exp_a_minus_scalar_8_f32"),
        (workloads.make("softmax", (6, 197)), "mschedx_exp_a_minus_scalar_1_f32"),
        (silu(5, 37), "mschedx_sigmoid_a_1_f32"),
        (workloads.make("gelu", (6, 32)), "mschedx_erf_a_8_f32"),
        (workloads.make("bias_gelu", (6, 32)), "mschedx_tanh_a_8_f32"),
    ],
)
def test_every_sketch_uses_vectors_and_computes_the_same(func, intrinsic):
    mod = tvm.IRModule({"main": func})
    rng = np.random.default_rng(0)
    shapes = [[int(n) for n in info.shape] for info in ArgInfo.from_entry_func(mod)]
    inputs = [tvm.runtime.tensor(rng.standard_normal(s, "float32")) for s in shapes]
    tvm.compile(mod, target=TARGET)["main"](*inputs)
    expected = inputs[-1].numpy().copy()
    for sketch in sketches(mod, TARGET):
        sch = sketch.schedule(sketch.sample(1, rng)[0])
        assert intrinsic in str(sch.trace)
        replayed = Schedule(mod)
        Trace.apply_json_to_schedule(sch.trace.as_json(), replayed)
        tvm.ir.assert_structural_equal(replayed.mod, sch.mod)
        module = tvm.compile(replayed.mod, target=TARGET)
        source = module.mod.inspect_source("s")
        assert not any(name in source for name in ("expf", "tanhf", "erff"))
        module["main"](*inputs)
        # Where 1 + tanh(x) cancels, what is left is as exact as 1 is.
        np.testing.assert_allclose(inputs[-1].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_functions_of_rows_that_no_vector_divides_are_kept_apart():
    mod = tvm.IRModule({"main": silu(5, 7)})
    context = TuneContext(mod=mod, target=TARGET, space_generator=for_target(TARGET))
    (space,) = context.generate_design_space()
    blocks = space.get_child_blocks(space.get_sblock("root"))
    assert [space.get(block).name_hint for block in blocks] == ["S_o", "Y"]


@T.prim_func(s_tir=True)
def half(
    a: T.Buffer((8, 16), "float32"), b: T.Buffer((16, 8), "float32"), y: T.Buffer((8, 8), "float32")
):
    c, s = T.sblock_alloc_buffer((8, 8)), T.sblock_alloc_buffer((8, 8))
    for i, j, k in T.grid(8, 8, 16):
        with T.sblock("C"):
            vi, vj, vk = T.axis.remap("SSR", [i, j, k])
            with T.init():
                c[vi, vj] = T.float32(0)
            c[vi, vj] = c[vi, vj] + a[vi, vk] * b[vk, vj]
    for i, j in T.grid(8, 8):
        with T.sblock("S"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.where(i < 4)
            s[vi, vj] = T.sigmoid(c[vi, vj])
    for i, j in T.grid(8, 8):
        with T.sblock("Y"):
            vi, vj = T.axis.remap("SS", [i, j])
            y[vi, vj] = s[vi, vj] + c[vi, vj]


def test_an_epilogue_that_tvm_does_not_inline_is_left_to_its_rule():
    """Y reads rows that S never wrote, so that compute_inline refuses."""
    mod = tvm.IRModule({"main": half.with_attr("global_symbol", "main")})
    _, _, inline, *_ = ScheduleRule.create("llvm")
    keeps = keeps_functions(Hardware.from_target(TARGET))
    rule = Guarded(inline, "AutoInline", keeps=(keeps,))
    sch = Schedule(mod)
    (left,) = rule.apply(sch, sch.get_sblock("S"))
    tvm.ir.assert_structural_equal(left.mod, mod)


def test_blocks_that_are_read_twice_are_walked_once():
    """Of a product before 16 of them, which end in no other: 2 ** 16 ways lead to the last."""
    a, b = (te.placeholder((32, 32), "float32", name) for name in "AB")
    r = te.reduce_axis((0, 32), "r")
    y = te.compute((32, 32), lambda i, j: te.sum(a[i, r] * b[r, j], axis=r), name="C")
    for _ in range(16):
        y = topi.multiply(y, topi.sigmoid(y))
    sch, asked = Schedule(tvm.IRModule({"main": te.create_prim_func([a, b, y])})), []

    class Counted:
        def __getattr__(self, name):
            return getattr(sch, name)

        def get_consumers(self, block):
            asked.append(block)
            return sch.get_consumers(block)

    assert not _feeds(Counted(), "C", [])
    assert len(asked) == 1 + 2 * 16
