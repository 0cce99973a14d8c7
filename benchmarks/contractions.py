"""The contraction rules on this CPU: mschedx, TVM's default search, vendor libraries, the peak.

    python benchmarks/contractions.py --group conv --trials 64 --seeds 3 --work-dir contractions
    python benchmarks/contractions.py --group gemm --trials 64 --seeds 3 --work-dir contractions
    python benchmarks/contractions.py --group int8 --trials 64 --seeds 3 --work-dir contractions
    python benchmarks/contractions.py --group avx2 --trials 64 --seeds 3
    python benchmarks/contractions.py --group exact --configs 200

The first three are ``mschedx compare`` with the tuners ``heron,tvm`` on a group of workloads, and
one more table: ratios and their geometric means. TVM's own VNNI intrinsic does not compile here,
so its int8 column is what its plain space reaches. ``vendor`` is the faster of NumPy and torch
(oneDNN; for int8 ``_int_mm``, and the quantised convolution, whose weights are packed beforehand).
A work_dir resumes. On 2 quiet cores 64 trials of both tuners take about a minute a workload and
seed: 60 minutes for conv, 20 for gemm, 16 for int8; avx2 takes 4, exact 4.

``avx2`` tunes for an AVX2-only CPU (``haswell``), runs the code here, and compares it with a
kernel of 256-bit multiply-adds. ``exact`` builds random configs of int8 spaces, valid by their
constraints alone, and compares every result with the unscheduled program's.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from mschedx.bench.suite import RESNET50, find_workloads
from mschedx.workloads import Workload

GEMM = (
    *find_workloads("gemm_128,gemm_1024,gemm_1000"),
    Workload("gemm_768x3072x768", "gemm", (768, 3072, 768)),
    Workload("gemm_4096x128x4096", "gemm", (4096, 128, 4096)),
    *find_workloads("attention,attention_nt"),
)
INT8 = (
    *find_workloads("gemm_int8"),
    Workload("conv_int8_1", "conv2d_nhwc", (1, 56, 56, 64, 64, 3, 1, 1), "int8"),
    Workload("conv_int8_2", "conv2d_nhwc", (1, 28, 28, 128, 128, 3, 1, 1), "int8"),
    Workload("conv_int8_3", "conv2d_nhwc", (1, 14, 14, 256, 256, 3, 1, 1), "int8"),
    Workload("conv_int8_4", "conv2d_nhwc", (1, 7, 7, 512, 512, 3, 1, 1), "int8"),
    Workload("conv_int8_blocked", "conv2d_blocked", (1, 128, 28, 28, 128, 3, 1, 1), "int8"),
)
GROUPS = {"gemm": GEMM, "conv": RESNET50, "int8": INT8}
AVX2 = (GEMM[1], GEMM[6], RESNET50[3], RESNET50[2])
EXACT = (
    Workload("u8s8", "gemm", (64, 96, 64), "int8"),
    Workload("u8s8_odd", "gemm", (37, 53, 29), "int8"),
    Workload("conv_nhwc", "conv2d_nhwc", (1, 10, 10, 16, 32, 3, 1, 1), "int8"),
    Workload("conv_nhwc_stride", "conv2d_nhwc", (1, 12, 12, 32, 32, 3, 2, 1), "int8"),
    Workload("conv_blocked", "conv2d_blocked", (1, 16, 10, 10, 32, 3, 1, 1), "int8"),
)
DOT_PRODUCT_OPS = 4
"""Multiply-adds of bytes that VNNI does for one of float32, a lane."""


def compare(group: str, trials: int, seeds: int, path: Path) -> None:
    """Tune all workloads with both tuners, time the winners in turn and print the tables."""
    from rich.console import Console

    from mschedx.bench.compare.harness import Comparison, run_comparison, time_winners
    from mschedx.bench.compare.tuners import find_tuners

    tuners = find_tuners("heron,tvm")
    comparison = Comparison(
        workloads=GROUPS[group],
        tuners=tuners,
        seeds=seeds,
        trials=trials,
        path=path / group,
        warm=True,
    )
    console = Console(width=100)
    run_comparison(comparison, console.print)
    final = time_winners(comparison, console.print)
    console.print(ratio_table(final, DOT_PRODUCT_OPS if group == "int8" else 1))


def ratio_table(final: dict[str, dict[str, float]], peak_factor: int = 1) -> Any:
    """Rates (GFLOP/s or GOP/s, medians over seeds) and what mschedx's is of each other's."""
    from rich.table import Table

    table = Table(title="Winners, timed in turn")
    for name in ("workload", "mschedx", "tvm", "vendor", "peak", "/tvm", "/vendor", "/peak"):
        table.add_column(name, justify="left" if name == "workload" else "right")
    logs: dict[str, list[float]] = {"tvm": [], "vendor": [], "peak": []}
    for workload, seconds in final.items():
        rates = rates_of(seconds, peak_factor)
        ours = rates.pop("heron")
        ratios = {name: ours / rate for name, rate in rates.items()}
        for name, ratio in ratios.items():
            logs[name].append(np.log(ratio))
        cells = [rates.get(name) for name in logs]
        table.add_row(
            workload,
            f"{ours:.0f}",
            *("-" if cell is None else f"{cell:.0f}" for cell in cells),
            *(f"{ratios[name]:.2f}" if name in ratios else "-" for name in logs),
        )
    means = [f"{np.exp(np.mean(found)):.2f}" if found else "-" for found in logs.values()]
    table.add_row("geometric mean", *[""] * 4, *means)
    return table


def rates_of(seconds: dict[str, float], peak_factor: int) -> dict[str, float]:
    """Give GFLOP/s of heron, tvm and the faster vendor where known, and of the peak."""

    def of(column: str) -> list[float]:
        return [s for name, s in seconds.items() if name.split("/")[0] == column]

    latencies = {name: statistics.median(of(name)) for name in ("heron", "tvm") if of(name)}
    vendors = of("NumPy") + of("torch")
    if vendors:
        latencies["vendor"] = min(vendors)
    rates = {name: seconds["flops"] / s / 1e9 for name, s in latencies.items()}
    return {**rates, "peak": peak_factor * seconds["peak"] / 1e9}


def avx2(trials: int, seeds: int) -> None:
    """Tune for AVX2 alone, and compare with the peak of 256-bit multiply-adds on this machine."""
    import tvm
    from tvm.target import Target

    from mschedx import tune
    from mschedx.bench.beside import compared
    from mschedx.hardware import host_cores
    from mschedx.hardware.peak import peak_kernel
    from mschedx.inputs import normalize_mod
    from mschedx.tuning import estimate_flops

    target = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": host_cores()})
    peak = peak_kernel(target, steps=100_000)
    for workload in AVX2:
        func = workload.func()
        runs = [tune(func, target, trials=trials, seed=s, progress=False) for s in range(seeds)]
        kernels = {
            f"{seed}": tvm.compile(run.schedule.mod, target)["main"]
            for seed, run in enumerate(runs)
        }
        found = compared(workload, kernels, peak=peak)
        flops = estimate_flops(normalize_mod(func))
        rate = flops / statistics.median(found.seconds.values()) / 1e9
        roof = (found.peak_flops or 0.0) / 1e9
        print(
            f"{workload.name:16} {rate:6.1f} of {roof:.1f} GFLOP/s, {rate / roof:.1%}", flush=True
        )


def exact(configs: int) -> None:
    """Build random configs, run them on bytes of the whole range, count those that are exact."""
    from mschedx import compat
    from mschedx.hardware import host_target
    from mschedx.inputs import normalize_mod
    from mschedx.space import for_target, sketches

    target, rng = host_target(), np.random.default_rng(0)
    for workload in EXACT:
        mod = normalize_mod(workload.func())
        arrays = [_bytes(param, rng) for param in workload.func().params]
        expected = compat.on_cores(None, lambda m=mod, a=arrays: _run(m, target, a))
        spaces = sketches(mod, target, for_target(target))
        right, failed = 0, 0
        for sketch in spaces:
            for config in sketch.sample(-(-configs // len(spaces)), rng):
                try:
                    found = _run(sketch.schedule(config).mod, target, arrays)
                except Exception as error:  # Whatever a config can do wrong is what is counted.
                    failed += 1
                    print(f"{workload.name} {list(config)}: {error}"[:300])
                    continue
                right += int(np.array_equal(found, expected))
        total = -(-configs // len(spaces)) * len(spaces)
        print(f"{workload.name:18} {right} of {total} exact, {failed} failed", flush=True)


def _bytes(param: Any, rng: np.random.Generator) -> np.ndarray:
    shape, dtype = [int(n) for n in param.shape], str(param.dtype)
    if dtype == "int32":
        return np.zeros(shape, dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return rng.integers(low, high, shape, dtype=dtype, endpoint=True)


def _run(mod: Any, target: Any, arrays: list[np.ndarray]) -> np.ndarray:
    import tvm

    tensors = [tvm.runtime.tensor(array) for array in arrays]
    tvm.compile(mod, target=target)["main"](*tensors)
    return tensors[-1].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--group", choices=(*GROUPS, "avx2", "exact"), default="gemm")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--configs", type=int, default=200, help="of each workload, for exact")
    parser.add_argument("--work-dir", type=Path, default=Path("contractions"))
    args = parser.parse_args()
    if args.group == "avx2":
        avx2(args.trials, args.seeds)
    elif args.group == "exact":
        exact(args.configs)
    else:
        compare(args.group, args.trials, args.seeds, args.work_dir)


if __name__ == "__main__":
    main()
