"""What measuring costs: LocalBuilder and LocalRunner against TVM's own pair.

Both pairs build and run the same random candidates of a square fp32 GEMM, from TVM's default space
or from mschedx's (valid configs drawn uniformly), on the same cores, all of them really used (the
environment of this process says so to TVM's workers too), with time limits long enough for TVM's
workers to start. Order: ours, TVM's, ours. TVM's runner is warm when the clock starts (it can be;
its builder starts new processes for every batch). TVM's runner is timed twice: with its default
evaluator settings and with settings as short as ours.

    python benchmarks/measure_overhead.py                    # 64 candidates, several minutes
    python benchmarks/measure_overhead.py --space mschedx    # the candidates mschedx measures
    python benchmarks/measure_overhead.py --candidates 8     # a quick try
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from mschedx import compat

# Before TVM is imported anywhere, so that TVM's own workers use all cores too.
os.environ.update(compat.cores_environment(compat.available_cores()))

LONG_S = 600.0
SIZE = 512


def main() -> None:
    options = parse()
    if options.first:
        first_candidate(options, ours=options.first == "ours")
        return
    print(
        f"{options.candidates} random candidates of a {SIZE}^3 fp32 GEMM "
        f"({options.space} space), "
        f"{compat.available_cores()} cores, mcpu {options.mcpu}, load {os.getloadavg()[0]:.1f}"
    )
    compare_pairs(options)
    compare_starts(options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--space", choices=["tvm", "mschedx"], default="tvm")
    parser.add_argument("--mcpu", default="znver4")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", choices=["ours", "stock"], help=argparse.SUPPRESS)
    return parser.parse_args()


def random_candidates(options: argparse.Namespace, count: int) -> tuple[list[Any], Any]:
    """`count` random candidates and their target."""
    import tvm
    from tvm import te

    a, b = (te.placeholder((SIZE, SIZE), name=name) for name in "AB")
    k = te.reduce_axis((0, SIZE), name="k")
    c = te.compute((SIZE, SIZE), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    target = tvm.target.Target(
        {"kind": "llvm", "mcpu": options.mcpu, "num-cores": compat.available_cores()}
    )
    draw = from_tvms_space if options.space == "tvm" else from_our_space
    return draw(te.create_prim_func([a, b, c]), target, options.seed, count), target


def from_tvms_space(function: Any, target: Any, seed: int, count: int) -> list[Any]:
    """Candidates as TVM's replay-trace search draws them."""
    from tvm.s_tir import meta_schedule as ms

    context = ms.TuneContext(
        mod=function,
        target=target,
        space_generator="post-order-apply",
        search_strategy="replay-trace",
        num_threads=1,
        rand_state=seed,
    )
    spaces = context.generate_design_space()
    context.pre_tuning(
        count, count, spaces, ms.database.MemoryDatabase(), ms.cost_model.RandomModel()
    )
    return list(context.generate_measure_candidates() or [])


def from_our_space(function: Any, target: Any, seed: int, count: int) -> list[Any]:
    """Valid configs of mschedx's space, each sketch in turn."""
    import numpy as np
    from tvm.s_tir.meta_schedule import MeasureCandidate
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    from mschedx.space import sketches

    rng = np.random.default_rng(seed)
    found = sketches(function, target)
    candidates: list[Any] = []
    for i in range(count):
        sketch = found[i % len(found)]
        schedule = sketch.schedule(sketch.sample(1, rng)[0])
        info = ArgInfo.from_entry_func(schedule.mod, remove_preproc=True)
        candidates.append(MeasureCandidate(schedule, info))
    return candidates


def measure(
    builder: Any, runner: Any, candidates: list[Any], target: Any
) -> tuple[float, float, list[Any], list[str | None]]:
    """Seconds to build and to run, the artifacts, and latency or None of each candidate."""
    from tvm.s_tir.meta_schedule.builder import BuilderInput

    start = time.perf_counter()
    built = builder.build([BuilderInput(c.sch.mod, target) for c in candidates])
    build_s = time.perf_counter() - start
    run_s, latencies = run(runner, candidates, built)
    return build_s, run_s, built, latencies


def run(runner: Any, candidates: list[Any], built: list[Any]) -> tuple[float, list[Any]]:
    from tvm.s_tir.meta_schedule.runner import RunnerInput

    pairs = [(c, b) for c, b in zip(candidates, built, strict=True) if b.error_msg is None]
    start = time.perf_counter()
    futures = runner.run([RunnerInput(b.artifact_path, "cpu", c.args_info) for c, b in pairs])
    results = iter([future.result() for future in futures])
    seconds = time.perf_counter() - start
    latencies = []
    for b in built:
        result = next(results) if b.error_msg is None else None
        seen = result.run_secs if result is not None else None
        latencies.append(statistics.mean(float(s) for s in seen) if seen else None)
    return seconds, latencies


def compare_pairs(options: argparse.Namespace) -> None:
    from tvm.s_tir import meta_schedule as ms

    from mschedx.measure import LocalBuilder, LocalRunner, MeasureConfig

    builder, runner = LocalBuilder(timeout_s=LONG_S), LocalRunner(timeout_s=LONG_S)
    whole = LocalBuilder(timeout_s=LONG_S, whole_blocks=True)
    with compat.fast_script():  # for both alike: TuneContext loads the intrinsics
        candidates, target = random_candidates(options, options.candidates)
    stock_builder = ms.builder.LocalBuilder(timeout_sec=LONG_S)
    settings = {"TVM's defaults": ms.runner.EvaluatorConfig()}
    settings["as short as ours"] = ms.runner.EvaluatorConfig(number=1, repeat=3, min_repeat_ms=8)
    stock_runners = {
        name: ms.runner.LocalRunner(timeout_sec=LONG_S, evaluator_config=config)
        for name, config in settings.items()
    }
    measure(whole, runner, candidates[:1], target)
    warm = measure(builder, runner, candidates[:1], target)  # ours, and an artifact to warm up with
    for stock in stock_runners.values():
        run(stock, candidates[:1], warm[2])

    before = measure(builder, runner, candidates, target)
    stock = measure(stock_builder, stock_runners["TVM's defaults"], candidates, target)
    short_s, short = run(stock_runners["as short as ours"], candidates, stock[2])
    after = measure(builder, runner, candidates, target)
    # The same candidates timed in full, to say what cutting the slow ones short changes.
    full = LocalRunner(timeout_s=LONG_S, config=MeasureConfig(slow_cutoff=None))
    full_s, uncut = run(full, candidates, after[2])
    # The same code as tvm.compile's for every candidate, timed in full.
    whole_s, _, built, _ = measure(whole, runner, candidates, target)
    whole_run_s, whole_blocks = run(full, candidates, built)

    ours_build, ours_run = (min(before[i], after[i]) for i in (0, 1))
    print(f"\n{'seconds':34s}{'build':>8s}{'run':>8s}{'both':>8s}")
    rows = {
        "mschedx, first pass": before[:2],
        "mschedx, second pass": after[:2],
        "mschedx, none cut short": (after[0], full_s),
        "mschedx, none cut, whole blocks": (whole_s, whole_run_s),
        "TVM, its default evaluator": stock[:2],
        "TVM, evaluator as short as ours": (stock[0], short_s),
    }
    for name, (build_s, run_s) in rows.items():
        print(f"{name:34s}{build_s:8.2f}{run_s:8.2f}{build_s + run_s:8.2f}")
    print("evaluators: ours", MeasureConfig(), *(f"| {n}: {c}" for n, c in settings.items()))
    ours_s = ours_build + ours_run
    print(
        f"\nTVM's wall time over ours: {(stock[0] + stock[1]) / ours_s:.1f}x (target 10x; build "
        f"{stock[0] / ours_build:.1f}x, run {stock[1] / ours_run:.1f}x); with TVM's evaluator as "
        f"short as ours {(stock[0] + short_s) / ours_s:.1f}x"
    )
    print("latencies of the same candidates, median and 10-90 % range of the ratio:")
    agreement("ours over TVM's default", after[3], stock[3])
    agreement("ours over TVM's short", after[3], short)
    agreement("ours, none cut, over TVM's default", uncut, stock[3])
    agreement("TVM's short over TVM's default", short, stock[3])
    agreement("ours over ours in whole blocks", uncut, whole_blocks)
    agreement("ours over ours", after[3], before[3])


def agreement(name: str, found: list[Any], expected: list[Any]) -> None:
    both = [(f, e) for f, e in zip(found, expected, strict=True) if f and e]
    ratios = sorted(f / e for f, e in both)
    if not ratios:
        print(f"  {name:36s} nothing to compare")
        return
    low, high = (ratios[int(share * (len(ratios) - 1))] for share in (0.1, 0.9))
    print(
        f"  {name:36s} {statistics.median(ratios):.3f}  [{low:.3f}, {high:.3f}]  "
        f"{len(both)} of {len(found)}"
    )


def compare_starts(options: argparse.Namespace) -> None:
    print("\nfrom the start of python to the first measured candidate:")
    seconds: dict[str, list[float]] = {"ours": [], "stock": []}
    for kind in ("ours", "stock", "ours"):
        command = [sys.executable, __file__, "--first", kind]
        command += ["--mcpu", options.mcpu, "--seed", str(options.seed)]
        start = time.perf_counter()
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            assert process.stdout is not None
            said = process.stdout.readline().strip()
            seconds[kind].append(time.perf_counter() - start)
            process.stdout.read()
            if process.wait() != 0 or not said.startswith("measured"):
                errors.seek(0)
                raise RuntimeError(f"{kind} failed: {said}\n{errors.read().decode()[-2000:]}")
    ours, stock = min(seconds["ours"]), min(seconds["stock"])
    print(f"  mschedx {ours:.1f} s (target 6 s), TVM {stock:.1f} s: {stock / ours:.1f}x")


def first_candidate(options: argparse.Namespace, *, ours: bool) -> None:
    """Print a line as soon as one candidate has been measured."""
    if ours:
        from mschedx import measure as mschedx_measure

        mschedx_measure.start()
        import tvm

        builder, runner = mschedx_measure.LocalBuilder(), mschedx_measure.LocalRunner()
        target = tvm.target.Target(
            {"kind": "llvm", "mcpu": options.mcpu, "num-cores": compat.available_cores()}
        )
        with compat.only_intrinsics(target):
            candidates, target = random_candidates(options, 1)
    else:
        from tvm.s_tir import meta_schedule as ms

        candidates, target = random_candidates(options, 1)
        builder = ms.builder.LocalBuilder(timeout_sec=LONG_S)
        runner = ms.runner.LocalRunner(timeout_sec=LONG_S)
    *_, (latency_s,) = measure(builder, runner, candidates, target)
    print(f"measured {latency_s}", flush=True)


if __name__ == "__main__":
    main()
