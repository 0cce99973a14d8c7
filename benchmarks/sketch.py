"""Design spaces as sketches: how many valid configs, how fast they are drawn, whether they hold.

    python benchmarks/sketch.py --target llvm --space tvm --configs 50

For every workload, space and sketch it prints the seconds to open the design spaces and to analyse
one sketch, the exact number of valid configs, how many a second are sampled (after the first
draw), the seconds for all features of 10 000 configs, and the share of ``--configs`` sampled
configs that become schedules with all postprocs applied. One process, one thread but for the
materialising. Nothing is built or run, so no GPU is needed.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import tvm
from tvm import te
from tvm.s_tir.meta_schedule.testing import te_workload as tw

from mschedx.space import InvalidSchedule, Sketch, sketches

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


def report(sketch: Sketch, n_configs: int, seed: int) -> dict[str, object]:
    """Measure one sketch; see the module's header for what the columns mean."""
    rng = np.random.default_rng(seed)
    start = time.perf_counter()
    analysis = sketch.analysis
    analysed = time.perf_counter()
    count = sketch.count()
    row: dict[str, object] = {
        "D": len(sketch.decisions),
        "constraints": len(sketch.constraints),
        "analyse_s": analysed - start,
        "join_s": time.perf_counter() - analysed,
        "count": count,
        "unresolved": len(analysis.unresolved),
    }
    if count == 0:
        return row
    row["samples_per_s"] = _rate(sketch, rng)
    configs = sketch.sample(10_000, rng)
    start = time.perf_counter()
    row["F"] = sketch.features(configs).shape[1]
    row["features_s"] = time.perf_counter() - start
    row["acceptance"] = sketch.sampler.acceptance
    outcomes = sketch.schedules(configs[:n_configs])
    failed = [outcome for outcome in outcomes if isinstance(outcome, InvalidSchedule)]
    row["valid"] = len(outcomes) - len(failed)
    row["failures"] = Counter(failure.reason for failure in failed)
    return row


def _rate(sketch: Sketch, rng: np.random.Generator, n: int = 20_000) -> float:
    """Valid configs a second, the best of three."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        sketch.sample(n, rng)
        seconds.append(time.perf_counter() - start)
    return n / min(seconds)


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    names = arguments.only.split(",") if arguments.only else list(WORKLOADS)
    for name in names:
        for kind in arguments.target.split(","):
            for space in arguments.space.split(","):
                where = {"workload": name, "target": kind, "space": space}
                start = time.perf_counter()
                try:
                    found = sketches(module_of(name), target_of(kind), SPACES[space])
                except Exception as error:
                    yield {**where, "error": f"{type(error).__name__}: {error}"[:300]}
                    continue
                opened = time.perf_counter() - start
                step = max(1, len(found) // arguments.sketches)
                for number in range(0, len(found), step):
                    row = report(found[number], arguments.configs, arguments.seed)
                    yield {**where, "sketch": f"{number}/{len(found)}", "open_s": opened, **row}


def line(row: dict[str, object]) -> str:
    parts = []
    for key, value in row.items():
        if isinstance(value, float):
            value = f"{value:,.0f}" if value > 1000 else f"{value:.3g}"
        if key != "failures" or value:
            parts.append(str(value) if key in ("workload", "target", "space") else f"{key}={value}")
    return "  ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--target", default="llvm,cuda", help="llvm, cuda or both")
    parser.add_argument("--space", default="tvm,ours", help="tvm, ours or both")
    parser.add_argument("--only", default="", help="workloads, separated by commas; all if empty")
    parser.add_argument("--configs", type=int, default=20, help="configs to materialise per sketch")
    parser.add_argument("--sketches", type=int, default=4, help="most sketches per space, about")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    measured = []
    for row in rows(arguments):
        print(line(row), flush=True)
        measured.append(row)
    done = [row for row in measured if "valid" in row]
    tried = arguments.configs * len(done)
    valid = sum(int(str(row["valid"])) for row in done)
    print(f"{len(done)} sketches, {valid} of {tried} sampled configs became schedules")
    for row in measured:
        if "error" in row:
            print("not opened:", line(row))


if __name__ == "__main__":
    main()
