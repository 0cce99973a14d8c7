"""TensorCoreTile: its index arithmetic on a CPU, its structure and constraints on a GPU target."""

import numpy as np
import pytest
import tvm
from serial import SerialSchedule
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.testing import te_workload as tw
from tvm.target import Target

from mschedx.space.contraction import match_contraction
from mschedx.space.rules.einsum import as_product
from mschedx.space.rules.tensor_core_tile import MAX_THREADS, tensor_core_tiles
from mschedx.space.sketch import sketches
from mschedx.space.target import for_target

A100 = Target("nvidia/nvidia-a100")
CPU = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 1})


def gemm(m, n, k, dtype="float16", out="float32", transposed=(False, False), epilogue=False):
    a = te.placeholder((k, m) if transposed[0] else (m, k), dtype, name="A")
    b = te.placeholder((n, k) if transposed[1] else (k, n), dtype, name="B")
    r = te.reduce_axis((0, k), name="k")

    def cell(i, j):
        left = a[r, i] if transposed[0] else a[i, r]
        right = b[j, r] if transposed[1] else b[r, j]
        return te.sum(left.astype(out) * right.astype(out), axis=r)

    c = te.compute((m, n), cell, name="C")
    if not epilogue:
        return te.create_prim_func([a, b, c])
    bias = te.placeholder((n,), out, name="bias")
    d = te.compute((m, n), lambda i, j: c[i, j] + bias[j], name="D")
    e = te.compute((m, n), lambda i, j: te.max(d[i, j], te.const(0, out)), name="E")
    return te.create_prim_func([a, b, bias, e])


def workload(name, *args):
    tensors = getattr(tw, name)(*args, in_dtype="float16", out_dtype="float32")
    return te.create_prim_func(list(tensors))


FUNCTIONS = {
    "gemm": gemm(64, 64, 64),
    "gemm-odd": gemm(61, 50, 43),
    "gemm-odd-columns": gemm(64, 50, 64),
    "gemm-transposed": gemm(48, 64, 32, transposed=(True, True)),
    "gemm-epilogue": gemm(64, 32, 32, epilogue=True),
    "gemm-odd-epilogue": gemm(60, 41, 40, epilogue=True),
    "gemm-int8": gemm(64, 64, 64, "int8", "int32"),
    "gemm-batched": workload("batch_matmul_nkkm", 3, 32, 32, 32),
    "conv1d": workload("conv1d_nlc", 1, 32, 16, 32, 3, 2, 1),
    "conv2d-nhwc": workload("conv2d_nhwc", 1, 8, 8, 16, 32, 3, 1, 1),
    "conv2d-strided": workload("conv2d_nhwc", 1, 14, 14, 3, 32, 5, 2, 2),
    "conv2d-nchw": workload("conv2d_nchw", 1, 10, 10, 8, 32, 3, 3, 1, 1),
    "conv3d": workload("conv3d_ndhwc", 1, 4, 6, 6, 16, 32, 3, 1, 1),
}


def module(function):
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


def main_block(sch):
    """The block that reduces."""
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    return next(block for block in blocks if sch.get(block).init is not None)


def spaces(function, target=A100, serial=False, **options):
    sch = Schedule(module(function), seed=1)
    used = SerialSchedule(sch) if serial else sch
    return tensor_core_tiles(used, main_block(sch), target, **options)


def inputs_of(function, rng):
    """Small integers, whose sums every type here holds exactly."""
    shapes = [([int(d) for d in b.shape], str(b.dtype)) for b in function.params]
    return [rng.integers(-3, 4, shape).astype(dtype) for shape, dtype in shapes]


def run(mod, inputs):
    tensors = [tvm.runtime.tensor(a) for a in inputs]
    tvm.compile(mod, target=CPU)["main"](*tensors)
    return tensors[-1].numpy()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_space_computes_the_same(name):
    function = FUNCTIONS[name]
    inputs = inputs_of(function, np.random.default_rng(0))
    expected = run(module(function), inputs)
    assert np.abs(expected).max() > 0
    found = spaces(function, serial=True)
    assert found
    for serial in found:
        np.testing.assert_array_equal(run(serial.schedule.mod, inputs), expected)
