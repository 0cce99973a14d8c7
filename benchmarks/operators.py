"""Operators that are no large products: mschedx's space beside TVM's, at equal trials.

    python benchmarks/operators.py [--trials 32] [--only depthwise_14,max_pool] [--output F]

Depthwise and grouped convolutions, pooling, reductions, transpositions, thin products. Each is
tuned twice on this machine, with the same builder, runner, strategy and model: in mschedx's space,
and in TVM's own. The winners are then timed in turn. None of these helped to train a model.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from resuming import Rows, options_of
from tvm import te, tirx, topi
from tvm.s_tir.meta_schedule.arg_info import ArgInfo

import mschedx
from mschedx import workloads
from mschedx.bench.fair import bound, time_all
from mschedx.cost import PAM
from mschedx.hardware import host_target
from mschedx.record.trials import Trial


def array(*shape: int, name: str = "X") -> Any:
    return te.placeholder(shape, "float32", name)


def depthwise(channels: int, size: int, stride: int = 1, kernel: int = 3) -> Any:
    shape = (1, channels, size, size, kernel, stride, kernel // 2)
    return workloads.make("depthwise_conv2d", shape)


def depthwise_channels_last(channels: int, size: int, stride: int = 1) -> Any:
    x, w = array(1, size, size, channels), array(3, 3, channels, 1, name="W")
    return function(x, w, topi.nn.depthwise_conv2d_nhwc(x, w, stride, 1, 1))


def grouped(groups: int, channels: int, size: int, kernel: int = 3) -> Any:
    x = array(1, channels, size, size)
    w = array(channels, channels // groups, kernel, kernel, name="W")
    return function(x, w, topi.nn.group_conv2d_nchw(x, w, 1, kernel // 2, 1, groups))


def pooled(kind: str, channels: int, size: int, kernel: int, stride: int, pad: int) -> Any:
    x = array(1, channels, size, size)
    window = (kernel,) * 2, (stride,) * 2, (1, 1), (pad,) * 4
    return function(x, topi.nn.pool2d(x, *window, kind))


def reduced(shape: tuple[int, ...], axis: int | tuple[int, ...]) -> Any:
    x = array(*shape)
    return function(x, topi.sum(x, axis=axis))


def softmax(shape: tuple[int, ...], axis: int) -> Any:
    x = array(*shape)
    return function(x, topi.nn.softmax(x, axis))


def permuted(shape: tuple[int, ...], order: tuple[int, ...]) -> Any:
    x = array(*shape)
    return function(x, topi.transpose(x, order))


def product(m: int, n: int, k: int, *, transposed: bool = False) -> Any:
    """A matrix product; its first operand is [K, M] where transposed."""
    a, b = array(*((k, m) if transposed else (m, k)), name="A"), array(k, n, name="B")
    r = te.reduce_axis((0, k), "k")

    def element(i: Any, j: Any) -> Any:
        return te.sum((a[r, i] if transposed else a[i, r]) * b[r, j], axis=r)

    return function(a, b, te.compute((m, n), element, name="C"))


def scaled(*shape: int) -> Any:
    """A batch norm of inference, and a relu."""
    x, a, b = array(*shape), array(shape[1], name="A"), array(shape[1], name="B")

    def element(*i: Any) -> Any:
        return tirx.max(x[i] * a[i[1]] + b[i[1]], tirx.const(0, "float32"))

    return function(x, a, b, te.compute(shape, element, name="Y"))


def function(*arrays: Any) -> Any:
    return te.create_prim_func(list(arrays))


OPERATORS: dict[str, Callable[[], Any]] = {
    "depthwise_56": lambda: depthwise(128, 56),
    "depthwise_56_strided": lambda: depthwise(144, 56, stride=2),
    "depthwise_28": lambda: depthwise(192, 28),
    "depthwise_28_strided": lambda: depthwise(144, 28, stride=2),
    "depthwise_14": lambda: depthwise(384, 14),
    "depthwise_14_5x5": lambda: depthwise(240, 14, kernel=5),
    "depthwise_7": lambda: depthwise(960, 7),
    "depthwise_28_nhwc": lambda: depthwise_channels_last(192, 28),
    "depthwise_28_nhwc_strided": lambda: depthwise_channels_last(192, 28, stride=2),
    "grouped_4": lambda: grouped(4, 128, 28),
    "grouped_32": lambda: grouped(32, 128, 28),
    "max_pool_3x3_strided": lambda: pooled("max", 64, 112, 3, 2, 1),
    "max_pool_2x2": lambda: pooled("max", 64, 56, 2, 2, 0),
    "average_pool_3x3": lambda: pooled("avg", 192, 28, 3, 1, 1),
    "average_pool_7x7": lambda: pooled("avg", 512, 7, 7, 1, 0),
    "conv1d": lambda: workloads.make("conv1d", (1, 64, 1024, 128, 3, 1, 1)),
    "sum_of_rows": lambda: reduced((2048, 1024), 1),
    "sum_of_columns": lambda: reduced((2048, 1024), 0),
    "sum_between": lambda: reduced((32, 512, 64), 1),
    "softmax_1000": lambda: softmax((64, 1000), 1),
    "softmax_channels": lambda: softmax((1, 21, 64, 64), 1),
    "transpose_1024": lambda: permuted((1024, 1024), (1, 0)),
    "to_channels_last": lambda: permuted((1, 64, 56, 56), (0, 2, 3, 1)),
    "to_channels_first": lambda: permuted((1, 56, 56, 64), (0, 3, 1, 2)),
    "batch_norm_relu": lambda: scaled(1, 64, 56, 56),
    "product_tn": lambda: product(512, 512, 512, transposed=True),
    "product_thin": lambda: product(1024, 8, 1024),
    "product_deep": lambda: product(32, 32, 8192),
    "product_odd": lambda: product(127, 131, 129),
}


def compared(name: str, trials: int) -> dict[str, Any]:
    """Tune an operator in both spaces, and time the winners in turn; latencies in microseconds."""
    target, mod = host_target(), OPERATORS[name]()
    found: dict[str, Any] = {"operator": name}
    winners = {}
    for space, given in (("mschedx", None), ("tvm", "post-order-apply")):
        result = mschedx.tune(
            mod,
            target=target,
            trials=trials,
            space=given,
            strategy=mschedx.DraftVerify(),
            cost_model=PAM(),
            progress=False,
        )
        found |= {
            f"{space}_first_us": first_us(result.history),
            f"{space}_trials": result.measured,
            f"{space}_wall_s": result.wall_s,
        }
        if result.schedule is not None:
            winners[space] = result.schedule.mod
    rng = np.random.default_rng(0)
    arrays = [
        rng.uniform(size=[int(n) for n in info.shape]).astype(str(info.dtype))
        for info in ArgInfo.from_prim_func(mod)
    ]
    calls = {
        space: bound(tvm.compile(winner, target=target)["main"], arrays)
        for space, winner in winners.items()
    }
    timings = time_all(calls, {})
    return found | {f"{space}_us": timings[space].median_s * 1e6 for space in winners}


def first_us(history: Sequence[Trial]) -> float:
    """Latency of the first trial, microseconds; infinite where it failed or there is none."""
    first = history[0].latency_s if history else None
    return math.inf if first is None else first * 1e6


def line(row: dict[str, Any]) -> str:
    """A row of the table, as text."""
    ours, theirs = row.get("mschedx_us", float("nan")), row.get("tvm_us", float("nan"))
    rate = theirs / ours
    firsts = f"{row['mschedx_first_us']:9.1f} {row['tvm_first_us']:9.1f}"
    walls = f"{row['mschedx_wall_s']:6.1f} {row['tvm_wall_s']:6.1f}"
    return f"{row['operator']:26} {ours:9.1f} {theirs:9.1f} {rate:7.2f}  {firsts}  {walls}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--only", default=",".join(OPERATORS), help="names, with commas")
    parser.add_argument("--output", type=Path, help="file of JSON lines to append to, and resume")
    args = parser.parse_args()
    names = args.only.split(",")
    unknown = [name for name in names if name not in OPERATORS]
    if unknown:
        parser.error(f"expected some of {', '.join(OPERATORS)}; got {', '.join(unknown)}")
    kept = Rows(args.output, options_of(args, "trials"))
    done = {row["operator"]: row for row in kept.rows}
    heads = f"{'us':26} {'mschedx':>9} {'TVM':>9} {'ratio':>7}  {'1st, ours':>9} {'1st, TVM':>9}"
    print(f"{heads}  {'s ours':>6} {'s, TVM':>6}")
    ratios = []
    for name in names:
        if name not in done:
            kept.append(compared(name, args.trials))
            done[name] = kept.rows[-1]
        row = done[name]
        print(line(row), flush=True)
        if "mschedx_us" in row and "tvm_us" in row:
            ratios.append(row["tvm_us"] / row["mschedx_us"])
    if not ratios:
        print("no operator ran in both: there is nothing to compare")
        return
    print(f"TVM's latency over mschedx's, geometric mean of {len(ratios)}: ", end="")
    print(f"{np.exp(np.mean(np.log(ratios))):.2f}, least {min(ratios):.2f}")


if __name__ == "__main__":
    main()
