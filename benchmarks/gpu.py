"""All checks and measurements that need an NVIDIA GPU (sm_80 or newer), in stages that resume.

    python benchmarks/gpu.py --stage intrinsics      # every intrinsic against NumPy, to the bit
    python benchmarks/gpu.py --stage rules           # every CUDA rule on small shapes
    python benchmarks/gpu.py --stage space           # sampled configs launch and are right
    python benchmarks/gpu.py --stage table           # tuned, against TVM's default and cuBLAS
    python benchmarks/gpu.py --compile-only          # the first three up to machine code, no GPU

The rules stage runs the workloads that `cuda_executed.py` executes without a GPU, on the same
arguments: where the two disagree, the emulator is wrong.

Each call ends within ``--budget-s`` seconds, 480 by default, and says whether something is left;
the same command then goes on where it stopped (exit status: 0 all done, 2 something left, 1
something wrong). What is done stands in ``--out``, a JSONL per device; tuning's records beside it.
The table is written to ``benchmarks/results/<device>-<date>.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_stages import Budget, Journal, Record, Stage, advance

if TYPE_CHECKING:
    from gpu_checks import Checker

STAGES = ("intrinsics", "rules", "space", "table")
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    args = _arguments()
    budget = Budget(args.budget_s)
    # Slow imports (TVM, torch) are part of what the budget pays for.
    import gpu_checks
    from tvm.target import Target

    target = Target("nvidia/nvidia-a100") if args.compile_only else gpu_checks.device_target()
    device = {"name": "compile-only"} if args.compile_only else describe_device()
    slug = re.sub(r"[^a-z0-9]+", "-", device["name"].lower()).strip("-")
    if args.shared_kib:
        target = gpu_checks.with_shared_memory(target, args.shared_kib)
        slug += f"-{args.shared_kib}kib"
    journal = Journal(args.out / f"{slug}.jsonl")
    checker = gpu_checks.Checker(target, args.workers, args.compile_only)
    wanted = STAGES if args.stage == "all" else (args.stage,)
    finished = True
    try:
        for stage in _stages(wanted, args, checker, slug):
            finished = advance(stage, journal, budget, retry=args.retry)
            _report(stage, journal)
            if not finished:
                print("something is left: run the same command again")
                break
    finally:
        checker.close()
    if "table" in wanted and not args.compile_only:
        _write_table(journal, device, slug, args)
    wrong = [r for name in wanted for r in journal.of(name) if not r["ok"]]
    return 1 if wrong else 0 if finished else 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    parser.add_argument("--budget-s", type=float, default=480, help="seconds this call may take")
    parser.add_argument("--compile-only", action="store_true", help="for sm_80; needs nvcc, no GPU")
    parser.add_argument("--configs", type=int, default=48, help="sampled configs a workload")
    parser.add_argument("--only", default="", help="workloads of a stage, by commas")
    parser.add_argument("--tuners", default="heron,tvm", help="the table's, as mschedx compare has")
    parser.add_argument("--seeds", default="0", help="the table's, by commas")
    parser.add_argument(
        "--shared-kib", type=int, default=0, help="shared memory a block may use; 0: TVM's 48"
    )
    parser.add_argument("--trials", type=int, default=64, help="trials of every tuner")
    parser.add_argument("--workers", type=int, default=4, help="programs at a time")
    parser.add_argument("--retry", action="store_true", help="do again what went wrong")
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="folder of what is done")
    return parser.parse_args()


def _stages(
    wanted: tuple[str, ...], args: argparse.Namespace, checker: Checker, slug: str
) -> Iterator[Stage]:
    if "intrinsics" in wanted:
        yield intrinsic_stage(checker)
    names = args.only.split(",") if args.only else None
    if "rules" in wanted:
        yield from rule_stages(checker, args.configs, names)
    if "space" in wanted:
        yield from space_stages(checker, args.configs, names)
    if "table" in wanted and not args.compile_only:
        from gpu_table import TableStage

        folder = args.out / f"{slug}-{args.trials}"
        seeds = tuple(map(int, args.seeds.split(",")))
        tuners = tuple(args.tuners.split(","))
        table = TableStage(checker.target, args.trials, folder, tuners, seeds, names)
        yield Stage("table", table.keys(), 1, table.work)


def intrinsic_stage(checker: Checker) -> Stage:
    """Every intrinsic that the target has, in every way."""
    from gpu_checks import intrinsic_case, intrinsic_keys

    known = intrinsic_keys(checker.target)

    def work(keys: list[str], _: float) -> Iterator[Record]:
        yield from checker.run({key: intrinsic_case(checker, *known[key]) for key in keys})

    return Stage("intrinsics", list(known), 2 * checker.workers, work)


def space_stages(checker: Checker, configs: int, names: list[str] | None = None) -> Iterator[Stage]:
    """A stage per workload: ``configs`` sampled configs, against the unscheduled program."""
    import gpu_checks

    def prepared(name: str) -> tuple[list[Any], tuple[str, float]]:
        mod = gpu_checks.workload(name)
        found = gpu_checks.sketches_of(mod, checker.target)
        return gpu_checks.sampled(found, configs, seed=0), checker.reference(mod)

    for name in names or gpu_checks.WORKLOADS:
        yield sampled_stage("space", name, configs, checker, prepared)


def rule_stages(checker: Checker, configs: int, names: list[str] | None = None) -> Iterator[Stage]:
    """A stage per small workload of the emulator's: ``configs`` sampled configs each."""
    import gpu_checks
    from cuda_workloads import WORKLOADS

    def prepared(name: str) -> tuple[list[Any], tuple[str, float]]:
        found = WORKLOADS[name].sketches(checker.target)
        expected = checker.whole_numbers(WORKLOADS[name].module())
        return gpu_checks.sampled(found, configs, seed=0), expected

    for name in names or WORKLOADS:
        yield sampled_stage("rules", name, configs, checker, prepared)


def sampled_stage(
    stage: str,
    name: str,
    configs: int,
    checker: Checker,
    prepared: Callable[[str], tuple[list[Any], tuple[str, float]]],
) -> Stage:
    """A stage of sampled schedules; ``prepared`` gives them, and the expected result's file."""
    import gpu_checks

    from mschedx.space import InvalidSchedule

    @cache
    def once() -> tuple[list[Any], tuple[str, float]]:
        return prepared(name)

    def work(keys: list[str], _: float) -> Iterator[Record]:
        sampled, expected = once()
        cases = {}
        for key in keys:
            outcome = sampled[int(key.rpartition("/")[2])]
            if isinstance(outcome, InvalidSchedule):
                yield {"key": key, "ok": False, "reason": f"invalid: {outcome}"[:500]}
            else:
                cases[key] = gpu_checks.Case(outcome, *expected)
        yield from checker.run(cases)

    # The number of configs is in the key: another number draws other ones.
    keys = [f"{name}/{configs}/{i}" for i in range(configs)]
    return Stage(stage, keys, 2 * checker.workers, work)


def describe_device() -> dict[str, str]:
    """Say what the present GPU is, and what drives it."""
    import tvm

    device = tvm.cuda(0)
    return {
        "name": str(device.device_name),
        "compute_capability": str(device.compute_version),
        "driver": _said(
            "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"
        ),
        "cuda_runtime": str(device.api_version),
        "nvcc": _said("nvcc", "--version").splitlines()[-1],
        "host": platform.processor() or platform.machine(),
        "tvm": tvm.__version__,
    }


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return f"{command[0]} not found"
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _report(stage: Stage, journal: Journal) -> None:
    keys = set(stage.keys)
    records = sorted((r for r in journal.of(stage.name) if r["key"] in keys), key=_name)
    for name, group in groupby(records, key=_name):
        rows = list(group)
        wrong = [r for r in rows if not r["ok"]]
        total = sum(_name({"key": key}) == name for key in stage.keys)
        print(f"{stage.name} {name}: {len(rows) - len(wrong)} right, {len(wrong)} wrong of {total}")
        for record in wrong[:3]:
            print(f"  {record['key']}: {record.get('reason') or record.get('notes')}")
    sys.stdout.flush()


def _name(record: Record) -> str:
    return record["key"].split("/")[0]


def _write_table(
    journal: Journal, device: dict[str, str], slug: str, args: argparse.Namespace
) -> None:
    from mschedx.bench.compare.tuners import find_tuners

    rows: dict[str, Record] = {}
    for record in journal.of("table"):
        name, trials, what = record["key"].split("/")
        if int(trials) != args.trials:
            continue
        earlier = [part["wall_s"] for part in journal.parts("table", record["key"])]
        row = {k: v for k, v in record.items() if k not in ("stage", "key", "finished")}
        if earlier:
            row["wall_s"] = round(row["wall_s"] + sum(earlier), 1)
        rows.setdefault(name, {})[what.partition(":")[0]] = row
    if not rows:
        return
    runs = {what for row in rows.values() for what in row} - {"final"}
    tuners = sorted({run.partition("@")[0] for run in runs})
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    content = {
        "device": device,
        "date": today,
        "command": "python benchmarks/gpu.py --stage table "
        f"--trials {args.trials} --seeds {args.seeds} --shared-kib {args.shared_kib}",
        "trials": args.trials,
        "tuners": {one.name: one.about for one in find_tuners(",".join(tuners))},
        "timing": (
            "in turn, best of two medians; tuned kernels by TVM's time_evaluator, the vendor's by "
            "CUDA events around a graph of torch's calls"
        ),
        "checks": {name: _count(journal.of(name)) for name in ("intrinsics", "rules", "space")},
        "workloads": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{slug}-{today}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for name, row in rows.items():
        if "final" in row:
            rates = (f"{key} {rate:.1f}" for key, rate in row["final"]["tflops"].items())
            print(f"{name}, TFLOP/s: {', '.join(rates)}")
    print(path)


def _count(records: list[Record]) -> dict[str, int]:
    return {"right": sum(r["ok"] for r in records), "wrong": sum(not r["ok"] for r in records)}


if __name__ == "__main__":
    sys.exit(main())
