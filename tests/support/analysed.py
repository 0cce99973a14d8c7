"""Designs and their analyses, made once per test run."""

from __future__ import annotations

from functools import cache

import numpy as np
import tvm
from tvm import te
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.testing import te_workload

from mschedx import compat
from mschedx.space.analysis import Analysis, analyse
from mschedx.space.analysis.read.probe import random_configs
from mschedx.space.trace.design import Design

TARGETS = {
    "llvm": tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2}),
    "cuda": tvm.target.Target("nvidia/nvidia-a100"),
}


def dense(n: int, dtype: str, out: str) -> list[te.Tensor]:
    a, b = (te.placeholder((n, n), dtype, name=name) for name in "AB")
    k = te.reduce_axis((0, n), name="k")

    def cell(i, j):
        return te.sum(a[i, k].astype(out) * b[k, j].astype(out), axis=k)

    return [a, b, te.compute((n, n), cell, name="C")]


WORKLOADS = {
    "gemm": lambda: dense(64, "float32", "float32"),
    "gemm-prime": lambda: te_workload.matmul(127, 48, 11),
    "gemm-small": lambda: te_workload.matmul(8, 8, 4),
    "gemm-wide": lambda: te_workload.matmul(128, 128, 64),
    "gemm-batched": lambda: te_workload.batch_matmul_nkkm(4, 32, 48, 24),
    "gemm-fp16": lambda: dense(64, "float16", "float32"),
    "conv2d": lambda: te_workload.conv2d_nhwc(1, 14, 14, 16, 32, 3, 2, 1),
    "conv2d-grouped": lambda: te_workload.conv2d_nhwc(1, 8, 8, 16, 16, 3, 1, 1, groups=4),
    "conv2d-grouped-56": lambda: te_workload.conv2d_nhwc(1, 56, 56, 64, 64, 3, 1, 1, groups=4),
    "conv2d-transposed": lambda: te_workload.conv2d_transpose_nhwc(1, 4, 4, 32, 16, 4, 2, 1),
    "softmax": lambda: te_workload.softmax_mn(32, 128),
}


@cache
def designs(workload: str, target: str) -> tuple[Design, ...]:
    """TVM's own design spaces of a workload."""
    mod = tvm.IRModule({"main": te.create_prim_func(WORKLOADS[workload]())})
    with compat.only_intrinsics(TARGETS[target]):
        context = ms.TuneContext(
            mod,
            target=TARGETS[target],
            space_generator="post-order-apply",
            rand_state=1,
            num_threads=1,
        )
    spaces = context.generate_design_space()
    return tuple(Design.from_schedule(space, mod, TARGETS[target]) for space in spaces)


@cache
def analysed(workload: str, target: str, index: int) -> Analysis:
    return analyse(designs(workload, target)[index])


def draws(design: Design, n: int, seed: int = 1) -> np.ndarray:
    """Random configs that the analysis has not seen."""
    return random_configs(design, n, np.random.default_rng(1000 + seed))


def satisfying(design: Design, analysis: Analysis, n: int, seed: int = 1) -> np.ndarray:
    """Random configs that satisfy every constraint."""
    configs = draws(design, 200 * n, seed)
    for constraint in (*design.constraints, *analysis.constraints):
        configs = configs[constraint.holds(configs)]
    return configs[:n]
