"""One fp32 GEMM: mschedx against TVM's default search, NumPy, torch and the machine's peak.

    python benchmarks/first_gemm.py --seeds 3 --trials 64

Every tuning run is a process of its own, so its time includes start-up; the tuners take turns.
TVM runs as a user has it (its own builder, runner, space, search and cost model), with the
environment that makes its kernels use all cores. At the end the winners of all runs, NumPy, torch
and a kernel of nothing but multiply-adds are timed in turn in one process; the fastest group of
each counts, and the median over seeds is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from mschedx import compat

TUNERS = ("mschedx", "tvm")


def tune_mschedx(shape: tuple[int, int, int], trials: int, seed: int, work_dir: str) -> None:
    from mschedx.tuning import tune
    from mschedx.workloads import make

    tune(make("gemm", shape), trials=trials, seed=seed, work_dir=work_dir, progress=False)


def tune_tvm(shape: tuple[int, int, int], trials: int, seed: int, work_dir: str) -> None:
    from tvm.s_tir import meta_schedule as ms

    from mschedx.hardware import host_target
    from mschedx.workloads import make

    ms.tune_tir(make("gemm", shape), host_target(), work_dir, trials, seed=seed)


def run_tuner(
    tuner: str, args: argparse.Namespace, trials: int, seed: int, work_dir: Path
) -> float:
    """Tune in a new process; gives its wall-clock seconds, start-up included."""
    command = [sys.executable, __file__, "--one", tuner, "--shape", args.shape]
    command += ["--trials", str(trials), "--seed", str(seed), "--work-dir", str(work_dir)]
    environment = dict(os.environ)
    if tuner == "tvm":
        environment.update(compat.cores_environment(compat.available_cores()))
    begin = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def best_kernel(shape: tuple[int, int, int], work_dir: Path) -> object:
    """Compile the best record of a work_dir; None if nothing ran."""
    import tvm
    from tvm.s_tir import meta_schedule as ms

    from mschedx.hardware import host_target
    from mschedx.workloads import make

    database = ms.database.JSONDatabase(work_dir=str(work_dir))
    schedule = ms.tir_integration.compile_tir(database, make("gemm", shape), host_target())
    return tvm.compile(schedule.mod, target=host_target())["main"] if schedule else None


def time_winners(shape: tuple[int, int, int], work_dirs: dict[str, Path]) -> dict[str, float]:
    """GFLOP/s of every winner, NumPy, torch and the peak kernel, timed in turn."""
    import numpy as np

    from mschedx.bench.fair import bound, time_all, timed
    from mschedx.bench.torch_process import TorchProcess
    from mschedx.bench.vendor import inputs, numpy_call
    from mschedx.hardware.peak import peak_kernel
    from mschedx.workloads import Workload

    workload = Workload("gemm", "gemm", shape)
    arrays = inputs(workload)
    peak = peak_kernel(steps=100_000)
    tensors = [*arrays, np.zeros((shape[0], shape[1]), "float32")]
    kernels = {name: best_kernel(shape, path) for name, path in work_dirs.items()}
    with TorchProcess() as torch:
        timings = time_all(
            {
                **{name: bound(kernel, tensors) for name, kernel in kernels.items() if kernel},
                "peak": peak.call(),
            },
            {
                "NumPy": partial(timed, numpy_call(workload, arrays)),
                "torch": torch.timer(workload),
            },
            rounds=15,
        )
    flops = 2.0 * shape[0] * shape[1] * shape[2]
    return {
        name: (peak.flops if name == "peak" else flops) / timing.min_s / 1e9
        for name, timing in timings.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shape", default="1024,1024,1024")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--skip-tvm", action="store_true", help="leave TVM's search out (minutes)")
    parser.add_argument(
        "--work-dir", type=Path, default=None, help="kept; finished runs are reused"
    )
    parser.add_argument("--one", choices=TUNERS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    m, n, k = (int(size) for size in args.shape.split(","))
    if args.one:
        tuner = tune_mschedx if args.one == "mschedx" else tune_tvm
        tuner((m, n, k), args.trials, args.seed, str(args.work_dir))
        return
    root = args.work_dir or Path(tempfile.mkdtemp(prefix="first_gemm-"))
    tuners = TUNERS[:1] if args.skip_tvm else TUNERS
    wall, work_dirs = run_all(args, tuners, root)
    report(args, tuners, wall, time_winners((m, n, k), work_dirs))


def run_all(
    args: argparse.Namespace, tuners: tuple[str, ...], root: Path
) -> tuple[dict[str, float], dict[str, Path]]:
    """Run every tuner with every seed, in turn; finished runs are read from `root`.

    Each shape and number of trials has a folder there.
    """
    root = root / f"{args.shape.replace(',', 'x')}-{args.trials}"
    root.mkdir(parents=True, exist_ok=True)
    times = root / "seconds.json"
    wall: dict[str, float] = json.loads(times.read_text()) if times.exists() else {}
    work_dirs: dict[str, Path] = {}
    for seed in range(args.seeds):
        for tuner in tuners:
            for name, trials in ((f"{tuner} first", 1), (f"{tuner} {seed}", args.trials)):
                work_dir = root / name.replace(" ", "_")
                if name not in wall:
                    work_dir.mkdir(parents=True, exist_ok=True)
                    wall[name] = run_tuner(tuner, args, trials, seed, work_dir)
                    times.write_text(json.dumps(wall))
                    print(f"{name}: {wall[name]:.1f} s", file=sys.stderr, flush=True)
            work_dirs[f"{tuner} {seed}"] = root / f"{tuner}_{seed}"
    return wall, work_dirs


def report(
    args: argparse.Namespace,
    tuners: tuple[str, ...],
    wall: dict[str, float],
    rates: dict[str, float],
) -> None:
    """Print the table and the ratios."""
    print(f"gemm {args.shape} float32, {args.trials} trials, {args.seeds} seeds")
    print(f"{'':12}{'GFLOP/s':>10}{'of peak':>10}{'wall s':>10}")
    for name, rate in rates.items():
        seconds = f"{wall[name]:.1f}" if name in wall else ""
        print(f"{name:12}{rate:10.1f}{rate / rates['peak']:10.1%}{seconds:>10}")

    def median(tuner: str, values: dict[str, float]) -> float:
        names = [f"{tuner} {seed}" for seed in range(args.seeds)]
        return statistics.median(values.get(name, 0.0) for name in names)

    ours = median("mschedx", rates)
    print(f"\nmschedx / peak      {ours / rates['peak']:.3f}   (floor 0.80, target 0.88)")
    print(f"mschedx / NumPy     {ours / rates['NumPy']:.2f}    (1.4)")
    print(f"mschedx / torch     {ours / rates['torch']:.2f}")
    if "tvm" in tuners and median("tvm", rates):
        print(f"mschedx / TVM       {ours / median('tvm', rates):.2f}    (1.3)")
        print(f"TVM seconds / ours  {median('tvm', wall) / median('mschedx', wall):.1f}")
    print(f"whole run           {median('mschedx', wall):.1f} s  (60)")
    print(f"first candidate     {wall['mschedx first']:.1f} s   (6)")


if __name__ == "__main__":
    main()
