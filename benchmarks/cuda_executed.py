"""Execute sampled configs of every CUDA rule, thread by thread, and check numbers and accesses.

    python benchmarks/cuda_executed.py --configs 200 --budget 480    # again, until all is done
    python benchmarks/cuda_executed.py --only f16,conv_3x3           # some workloads
    python benchmarks/cuda_executed.py --speed                       # launches a minute

No GPU is needed: :mod:`mschedx.emulator` runs the source that nvcc would get. What is done stands
in ``--out``, a line a config; the same command goes on where it stopped (exit status: 0 all done,
2 something left, 1 something wrong). Each workload runs in a process of its own, two at a time.

Columns: configs executed; wrong results; races; accesses out of bounds; reads of shared memory that
nobody wrote; misaligned accesses; others (divergence, too much shared memory, given up, crashed);
configs that TVM's code generator or the host's compiler rejects; and the passes through shared
memory over the least there could be, at the median and the ninth decile of configs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tvm
from cuda_workloads import TARGET, WORKLOADS, product
from gpu_stages import Budget, Journal, Record, Stage, advance
from tvm.target import Target

from mschedx.emulator import CompilationError, ExecutionOptions, Kind, UnsupportedSource
from mschedx.emulator.build import build
from mschedx.emulator.check import Checked, Reference, check, reference
from mschedx.emulator.execute import run
from mschedx.emulator.source import Program, generate
from mschedx.space import InvalidSchedule, Sketch, sketches

BATCH = 8
CRASHES = 3
_COLUMNS = {
    "races": Kind.RACE,
    "out of bounds": Kind.OUT_OF_BOUNDS,
    "unwritten": Kind.UNINITIALISED,
    "misaligned": Kind.MISALIGNED,
}


def main() -> int:
    args = _arguments()
    if args.speed:
        return _speed(args.seconds)
    names = args.only.split(",") if args.only else list(WORKLOADS)
    if args.child:
        return _work(names[0], args)
    unfinished = _drive(names, args)
    journals = {name: _journal(name, args) for name in names}
    _table({name: journal.of("executed") for name, journal in journals.items()}, args.configs)
    wrong = any(not r["ok"] for journal in journals.values() for r in journal.of("executed"))
    return 1 if wrong else 2 if unfinished else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configs", type=int, default=200, help="sampled configs a workload")
    parser.add_argument("--only", default="", help="workloads by commas; all if empty")
    parser.add_argument("--budget", type=float, default=480, help="seconds this call may take")
    parser.add_argument("--out", type=Path, default=Path("cuda-executed"))
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--speed", action="store_true", help="time launches of 64 threads instead")
    parser.add_argument("--seconds", type=float, default=20, help="seconds to time launches for")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _journal(name: str, args: argparse.Namespace) -> Journal:
    return Journal(args.out / f"{name}-{args.configs}.jsonl")


def _keys(name: str, configs: int) -> list[str]:
    return [f"{name}/{i}" for i in range(configs)]


def _drive(names: list[str], args: argparse.Namespace) -> bool:
    """Run a process per workload; whether something is left."""
    budget = Budget(args.budget)

    def one(name: str) -> bool:
        for _ in range(CRASHES):
            left = budget.left_s()
            done = len(_journal(name, args).of("executed"))
            if done == args.configs:
                return False
            if left < 10:
                return True
            command = [sys.executable, __file__, "--child", "--only", name, "--out", str(args.out)]
            command += ["--configs", str(args.configs), "--budget", str(left)]
            status = subprocess.run(command, check=False).returncode
            if status in (0, 2):
                return status == 2
            _note_crash(name, args, status)
        return True

    with ThreadPoolExecutor(args.jobs) as pool:
        return any(list(pool.map(one, names)))


def _note_crash(name: str, args: argparse.Namespace, status: int) -> None:
    """Blame the first config without a record: it was being executed."""
    journal = _journal(name, args)
    done = {r["key"] for r in journal.of("executed")}
    key = next((key for key in _keys(name, args.configs) if key not in done), None)
    if key is not None:
        reason = f"the process ended with status {status}"
        journal.append("executed", {"key": key, "ok": False, "reason": reason, "finished": True})


def _work(name: str, args: argparse.Namespace) -> int:
    """Execute what is left of one workload, in this process."""
    budget = Budget(args.budget)
    workload, target = WORKLOADS[name], Target(TARGET)
    expected = reference(workload.module(), np.random.default_rng(0))
    samples = _samples(workload.sketches(target), args.configs)

    def work(keys: list[str], _: float) -> Iterator[Record]:
        with tempfile.TemporaryDirectory() as folder:
            for key in keys:
                sketch, config = samples[int(key.rpartition("/")[2])]
                yield {"key": key, **_record(sketch, config, target, expected, Path(folder))}

    stage = Stage("executed", _keys(name, args.configs), BATCH, work)
    return 0 if advance(stage, _journal(name, args), budget) else 2


def _samples(found: list[Sketch], count: int) -> list[tuple[Sketch, np.ndarray]]:
    """Draw configs, spread over sketches; the same ones every time."""
    rng = np.random.default_rng(0)
    shares = np.array_split(np.arange(count), len(found))
    return [
        (sketch, config)
        for sketch, share in zip(found, shares, strict=True)
        if len(share)
        for config in _as_many(sketch, len(share), rng)
    ]


def _as_many(sketch: Sketch, count: int, rng: np.random.Generator) -> np.ndarray:
    """Sample; a small sketch gives its configs several times."""
    configs = sketch.sample(count, rng)
    return configs[np.arange(count) % len(configs)]


def _record(
    sketch: Sketch, config: np.ndarray, target: Target, expected: Reference, folder: Path
) -> Record:
    outcome = sketch.schedules(config[None])[0]
    if isinstance(outcome, InvalidSchedule):
        return {"ok": False, "reason": f"invalid: {outcome}"[:300]}
    try:
        checked = check(outcome.mod, target, expected, folder, ExecutionOptions(count=True))
    except UnsupportedSource as error:
        return {"ok": False, "reason": str(error)[:300]}
    except (CompilationError, RuntimeError) as error:  # TVM's InternalError is a RuntimeError
        last = [line for line in str(error).splitlines() if "rror" in line or "Check" in line]
        return {"ok": True, "rejected": (last or [str(error)])[0][:300]}
    return _verdict(checked)


def _verdict(checked: Checked) -> Record:
    faults = checked.execution.faults
    kinds = Counter(fault.kind.name for fault in faults)
    record: Record = {"ok": checked.ok, "wrong": checked.wrong, "faults": kinds}
    if faults:
        record["first"] = str(faults[0])[:500]
    counts = checked.execution.counts
    least = counts.total("least", shared=True) if counts else 0
    if counts and least:
        record["conflicts"] = counts.total("transfers", shared=True) / least
    return record


def _table(records: dict[str, list[Record]], configs: int) -> None:
    columns = ["configs", "wrong", *_COLUMNS, "other", "rejected", "p50", "p90"]
    print("| workload | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    everything = [record for rows in records.values() for record in rows]
    for name, rows in {**records, "all": everything}.items():
        if rows:
            print(f"| {name} | " + " | ".join(_cells(rows)) + " |")
    for record in [r for r in everything if not r["ok"]][:10]:
        print(record["key"], record.get("reason") or record.get("wrong"), record.get("first", ""))


def _cells(rows: list[Record]) -> list[str]:
    executed = [r for r in rows if "faults" in r]
    kinds = [r["faults"] for r in executed]
    counts = [sum(kind.name in one for one in kinds) for kind in _COLUMNS.values()]
    known = {kind.name for kind in _COLUMNS.values()}
    other = sum(bool(set(one) - known) for one in kinds)
    other += sum("reason" in r for r in rows)
    ratios = [r["conflicts"] for r in executed if "conflicts" in r]
    deciles = np.quantile(ratios, [0.5, 0.9]) if ratios else []
    numbers = [len(executed), sum(bool(r["wrong"]) for r in executed), *counts, other]
    numbers.append(sum("rejected" in r for r in rows))
    return [*map(str, numbers), *([f"{d:.2f}" for d in deciles] or ["–", "–"])]


def _speed(seconds: float) -> int:
    """Time launches of one block of 64 threads: tensor cores with a pipeline, and CUDA cores."""
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", f"import cuda_executed as c; c.time_launches({seconds})"],
            cwd=Path(__file__).parent,
            env={**os.environ},
        )
        for _ in range(2)
    ]
    return max(job.wait() for job in jobs)


def time_launches(seconds: float) -> None:
    """Launch 32 × 32 × 32 products over and over in this process; print how many a minute."""
    target = Target(TARGET)
    for dtype in ("float16", "float32"):
        mod = tvm.IRModule({"main": product(32, 32, 32, dtype)})
        expected = reference(mod, np.random.default_rng(0))
        with tempfile.TemporaryDirectory() as folder:
            program = _one_block_of_64(sketches(mod, target), target)
            library = build(program, Path(folder))
            run(library, expected.before)
            start, cpu, launches = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() - start < seconds:
                run(library, expected.before, ExecutionOptions(seed=launches))
                launches += 1
            rate = 60 * launches / (time.perf_counter() - start)
            each_ms = 1e3 * (time.process_time() - cpu) / launches
        print(
            f"{dtype} 32x32x32, one block of 64 threads: {rate:.0f} launches a minute a process, "
            f"{each_ms:.2f} ms of CPU each"
        )


def _one_block_of_64(found: list[Sketch], target: Target) -> Program:
    rng = np.random.default_rng(0)
    for sketch in found:
        for outcome in sketch.schedules(sketch.sample(64, rng)):
            if isinstance(outcome, InvalidSchedule):
                continue
            program = generate(outcome.mod, target)
            launch = program.launches[0]
            if np.prod(launch.block) == 64 and np.prod(launch.grid) == 1:
                return program
    raise RuntimeError("no sampled config has one block of 64 threads; sample more")


if __name__ == "__main__":
    sys.exit(main())
