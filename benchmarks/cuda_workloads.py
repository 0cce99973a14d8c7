"""Small workloads that cover what the CUDA rules make: types, layouts, guards, epilogues.

A workload is executed thread by thread (:mod:`mschedx.emulator`), so shapes are small; they are
large enough for several blocks, warps and steps of a pipeline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import te, tirx
from tvm.s_tir.meta_schedule.space_generator import PostOrderApply
from tvm.s_tir.meta_schedule.testing import te_workload
from tvm.target import Target

from mschedx import compat, workloads
from mschedx.space import Sketch, for_target, sketches

TARGET = "nvidia/nvidia-a100"
_OUT = {"float16": "float32", "bfloat16": "float32", "int8": "int32", "float32": "float32"}


@dataclass(frozen=True, slots=True)
class Workload:
    """A function to schedule, and by whose rules.

    Attributes
    ----------
    make : Callable
        Gives the PrimFunc.
    space : str
        "mschedx", "tf32" (mschedx's, with float32 cut to tf32), or "cuda" and "cuda-tensorcore",
        TVM's own.
    """

    make: Callable[[], tirx.PrimFunc]
    space: str = "mschedx"

    def module(self) -> tvm.IRModule:
        """Build the unscheduled module."""
        return tvm.IRModule({"main": self.make()})

    def sketches(self, target: Target) -> list[Sketch]:
        """Generate and analyse the design spaces."""
        if self.space in ("mschedx", "tf32"):
            return sketches(self.module(), target, for_target(target, tf32=self.space == "tf32"))
        compat.load_tensor_intrinsics()
        rules = dict.fromkeys(("sch_rules", "postprocs", "mutator_probs"), self.space)
        return sketches(self.module(), target, PostOrderApply(**rules))


def product(
    m: int,
    n: int,
    k: int,
    dtype: str,
    *,
    batch: int = 0,
    transposed: bool = False,
    out: str | None = None,
    epilogue: bool = False,
) -> tirx.PrimFunc:
    """C = A·B, or max(A·B + bias, 0); B is [n, k] where `transposed`."""
    out = out or _OUT[dtype]
    lead = (batch,) if batch else ()
    a = te.placeholder((*lead, m, k), dtype, "A")
    b = te.placeholder((*lead, n, k) if transposed else (*lead, k, n), dtype, "B")
    r = te.reduce_axis((0, k), "r")

    def element(*index: Any) -> Any:
        *p, i, j = index
        left, right = a[(*p, i, r)], b[(*p, j, r) if transposed else (*p, r, j)]
        if dtype == out:
            return te.sum(left * right, axis=r)
        return te.sum(left.astype(out) * right.astype(out), axis=r)

    c = te.compute((*lead, m, n), element, name="C")
    if not epilogue:
        return te.create_prim_func([a, b, c])
    bias = te.placeholder((n,), out, "bias")
    added = te.compute(c.shape, lambda *i: c[i] + bias[i[-1]], name="added")
    zero = tirx.const(0, out)
    result = te.compute(c.shape, lambda *i: te.max(added[i], zero), name="relu")
    return te.create_prim_func([a, b, bias, result])


def convolution(
    window: int, stride: int, padding: int, dtype: str = "float16", channels: int = 32
) -> tirx.PrimFunc:
    """A convolution of a 10 × 10 image, [N, H, W, C]."""
    types = {"in_dtype": dtype, "out_dtype": _OUT[dtype]}
    sizes = (1, 10, 10, channels, 32, window, stride, padding)
    return te.create_prim_func(te_workload.conv2d_nhwc(*sizes, **types))


def _suite(op: str, shape: tuple[int, ...], dtype: str = "float32") -> Workload:
    return Workload(lambda: workloads.make(op, shape, dtype))


def _product(*sizes: Any, space: str = "mschedx", **choices: Any) -> Workload:
    return Workload(lambda: product(*sizes, **choices), space)


def _convolution(*sizes: Any, space: str = "mschedx") -> Workload:
    return Workload(lambda: convolution(*sizes), space)


def _products() -> dict[str, Workload]:
    found = {}
    for short, dtype in (
        ("f16", "float16"),
        ("bf16", "bfloat16"),
        ("s8", "int8"),
        ("tf32", "float32"),
    ):
        space = "tf32" if short == "tf32" else "mschedx"
        found[short] = _product(64, 64, 64, dtype, space=space)
        found[f"{short}_nt"] = _product(64, 64, 64, dtype, space=space, transposed=True)
        found[f"{short}_100x72x40"] = _product(100, 72, 40, dtype, space=space)
        found[f"{short}_batch"] = _product(32, 64, 32, dtype, space=space, batch=3)
    return found


WORKLOADS: dict[str, Workload] = {
    **_products(),
    "f16_f16": _product(64, 64, 64, "float16", out="float16"),
    "f16_100x72x40_nt": _product(100, 72, 40, "float16", transposed=True),
    "f16_batch_nt": _product(32, 64, 32, "float16", batch=3, transposed=True),
    "f16_bias_relu": _product(64, 64, 64, "float16", epilogue=True),
    "f16_bias_relu_100x72x40": _product(100, 72, 40, "float16", epilogue=True),
    "s8_bias_relu": _product(64, 64, 64, "int8", epilogue=True),
    "conv_1x1": _convolution(1, 1, 0),
    "conv_3x3": _convolution(3, 1, 1),
    "conv_3x3_valid": _convolution(3, 1, 0),
    "conv_3x3_stride_2": _convolution(3, 2, 1),
    "conv_3x3_bf16": _convolution(3, 1, 1, "bfloat16"),
    "conv_3x3_s8": _convolution(3, 1, 1, "int8"),
    "conv_3x3_tf32": _convolution(3, 1, 1, "float32", 32, space="tf32"),
    "conv_3x3_24_channels": _convolution(3, 1, 1, "float16", 24),
    "cores_f32": _product(64, 64, 64, "float32"),
    "cores_f32_100x72x40": _product(100, 72, 40, "float32"),
    "cores_u8s8": _suite("gemm", (64, 64, 64), "int8"),
    "cores_conv2d": _suite("conv2d_bias_relu", (1, 8, 9, 9, 16, 3, 2, 1)),
    "cores_depthwise": _suite("depthwise_conv2d", (1, 16, 10, 10, 3, 1, 1)),
    "cores_transposed": _suite("conv2d_transpose", (1, 8, 6, 6, 8, 4, 2, 1)),
    "cores_softmax": _suite("softmax", (24, 100)),
    "cores_layer_norm": _suite("layer_norm", (24, 100)),
    "cores_mean": _suite("mean", (16, 300)),
    "cores_bias_gelu": _suite("bias_gelu", (24, 64)),
    "tvm_f32": _product(64, 64, 64, "float32", space="cuda"),
    "tvm_softmax": Workload(lambda: workloads.make("softmax", (24, 100)), "cuda"),
    "tvm_wmma_f16": _product(64, 64, 64, "float16", space="cuda-tensorcore"),
    "tvm_wmma_s8": _product(64, 64, 64, "int8", space="cuda-tensorcore"),
}
"""By name; those named ``tvm`` are scheduled by TVM's own rules."""
