"""What the sketch benchmarks run on: workloads, targets, spaces, and options to choose them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import tvm
from tvm import te
from tvm.s_tir.meta_schedule.testing import te_workload as tw

TARGETS: dict[str, object] = {
    "llvm": {"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2},
    "cuda": "nvidia/nvidia-a100",
}
SPACES = {"tvm": "post-order-apply", "ours": None}


def _dense(m: int, n: int, k: int, a: str, b: str, out: str) -> list[te.Tensor]:
    """C = A·B with operands of different types."""
    left, right = te.placeholder((m, k), a, name="A"), te.placeholder((k, n), b, name="B")
    axis = te.reduce_axis((0, k), name="k")

    def cell(i: te.Var, j: te.Var) -> te.Tensor:
        return te.sum(left[i, axis].astype(out) * right[axis, j].astype(out), axis=axis)

    return [left, right, te.compute((m, n), cell, name="C")]


def _layer_norm(m: int, n: int) -> list[te.Tensor]:
    x = te.placeholder((m, n), name="X")
    j, k = te.reduce_axis((0, n), name="j"), te.reduce_axis((0, n), name="k")
    total = te.compute((m,), lambda i: te.sum(x[i, j], axis=j), name="total")
    square = te.compute((m,), lambda i: te.sum(x[i, k] * x[i, k], axis=k), name="square")

    def cell(i: te.Var, q: te.Var) -> te.Tensor:
        mean = total[i] / n
        return (x[i, q] - mean) * te.rsqrt(square[i] / n - mean * mean + 1e-5)

    return [x, te.compute((m, n), cell, name="normal")]


def _mean(m: int, n: int) -> list[te.Tensor]:
    x, k = te.placeholder((m, n), name="X"), te.reduce_axis((0, n), name="k")
    total = te.compute((m,), lambda i: te.sum(x[i, k], axis=k), name="total")
    return [x, te.compute((m,), lambda i: total[i] / n, name="mean")]


def _elementwise(m: int, n: int) -> list[te.Tensor]:
    x, y = te.placeholder((m, n), name="X"), te.placeholder((m, n), name="Y")
    return [x, y, te.compute((m, n), lambda i, j: te.tanh(x[i, j]) + y[i, j], name="Z")]


WORKLOADS: dict[str, Callable[[], object]] = {
    "gemm": lambda: tw.matmul(512, 512, 512),
    "gemm_tall": lambda: tw.matmul(4096, 128, 4096),
    "gemm_prime": lambda: tw.matmul(127, 131, 113),
    "gemm_tiny": lambda: tw.matmul(1, 7, 16),
    "gemm_f16": lambda: tw.matmul(512, 512, 512, in_dtype="float16", out_dtype="float32"),
    "gemm_f16_f16": lambda: tw.matmul(512, 512, 512, in_dtype="float16", out_dtype="float16"),
    "gemm_int8": lambda: _dense(512, 512, 512, "int8", "int8", "int32"),
    "gemm_u8s8": lambda: _dense(512, 512, 512, "uint8", "int8", "int32"),
    "gemm_relu": lambda: tw.matmul_relu(256, 256, 256),
    "batch_gemm": lambda: tw.batch_matmul_nkkm(12, 128, 128, 64),
    "batch_gemm_t": lambda: tw.transpose_batch_matmul(1, 128, 12, 64),
    "gemv": lambda: tw.matmul(1, 4096, 1024),
    "conv1d": lambda: tw.conv1d_nlc(1, 256, 64, 128, 3, 2, 1),
    "conv2d_nhwc": lambda: tw.conv2d_nhwc(1, 56, 56, 64, 64, 3, 1, 1),
    "conv2d_nchw": lambda: tw.conv2d_nchw(1, 56, 56, 64, 64, 3, 3, 1, 1),
    "conv2d_strided": lambda: tw.conv2d_nhwc(1, 224, 224, 3, 64, 7, 2, 3),
    "conv2d_dilated": lambda: tw.conv2d_nhwc(1, 56, 56, 64, 64, 3, 1, 2, dilation=2),
    "conv2d_grouped": lambda: tw.conv2d_nhwc(1, 56, 56, 64, 64, 3, 1, 1, groups=4),
    "conv2d_f16": lambda: tw.conv2d_nhwc(
        1, 56, 56, 64, 64, 3, 1, 1, in_dtype="float16", out_dtype="float32"
    ),
    "depthwise": lambda: tw.depthwise_conv2d_nhwc(1, 56, 56, 64, 3, 1, 1),
    "conv2d_transpose": lambda: tw.conv2d_transpose_nhwc(1, 8, 8, 256, 128, 4, 2, 1),
    "conv3d": lambda: tw.conv3d_ndhwc(1, 8, 28, 28, 16, 32, 3, 1, 1),
    "conv_bias_bn_relu": lambda: tw.conv2d_nhwc_bn_relu(1, 28, 28, 64, 64, 3, 1, 1),
    "softmax": lambda: tw.softmax_mn(128, 768),
    "layer_norm": lambda: _layer_norm(128, 768),
    "mean": lambda: _mean(128, 768),
    "norm": lambda: tw.norm_bmn(1, 256, 256),
    "elementwise": lambda: _elementwise(256, 256),
}


def target_of(name: str) -> tvm.target.Target:
    return tvm.target.Target(TARGETS[name])


def module_of(name: str) -> tvm.IRModule:
    return tvm.IRModule({"main": te.create_prim_func(WORKLOADS[name]())})


def parser(description: str, configs: int) -> argparse.ArgumentParser:
    """Make a parser with the options that all sketch benchmarks have."""
    made = argparse.ArgumentParser(description=description.split("\n")[0])
    made.add_argument("--target", default="llvm,cuda", help="targets, separated by a comma")
    made.add_argument("--space", default="tvm,ours", help="spaces, separated by a comma")
    made.add_argument("--only", default="", help="workloads, separated by commas; all if empty")
    made.add_argument("--shard", default="0/1", help="i/n: every n-th workload from the i-th")
    made.add_argument("--configs", type=int, default=configs, help="random configs per sketch")
    made.add_argument("--sketches", type=int, default=4, help="most sketches per space, about")
    made.add_argument("--seed", type=int, default=0)
    return made


def spaces_of(arguments: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Go through the chosen workloads, targets and spaces."""
    names = arguments.only.split(",") if arguments.only else list(WORKLOADS)
    turn, shards = map(int, arguments.shard.split("/"))
    for name in names[turn::shards]:
        for kind in arguments.target.split(","):
            for space in arguments.space.split(","):
                yield {"workload": name, "target": kind, "space": space}


def chosen(count: int, most: int) -> range:
    """Spread about ``most`` of ``count`` sketches evenly."""
    return range(0, count, max(1, count // most))


def line(row: dict[str, object]) -> str:
    """Print a row of results on one line."""
    parts = []
    for key, value in row.items():
        if isinstance(value, float):
            value = f"{value:,.0f}" if value > 1000 else f"{value:.3g}"
        if key != "failures" or value:
            parts.append(str(value) if key in ("workload", "target", "space") else f"{key}={value}")
    return "  ".join(parts)
