"""One function through the whole package, every candidate against NumPy."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import tvm
from described_functions import Function, prim_func
from numpy_interpreter import Value, interpret, random_inputs

import mschedx
from mschedx.inputs import normalize_mod
from mschedx.measure import verification_jobs
from mschedx.measure.pool import Job, PoolConfig, carry_out, total_memory_bytes
from mschedx.space import EmptySpace, InvalidSchedule, UnsupportedTrace

_SLACK = 4.0  # over the first-order bound of rounding errors
_MOST_SKETCHES = 6


@dataclass(frozen=True)
class Problem:
    """What went wrong: ``kind`` is one of KINDS."""

    kind: str
    detail: str


# The function is refused in words; the unscheduled program is not what NumPy says; an exception
# nobody foresaw; a candidate computes something else; one does not build or run; the constraints
# allow a config that does not become a schedule; a run ends with nothing and does not say why.
KINDS = ("refused", "unscheduled", "crash", "wrong", "failed", "allowed", "silent")


@dataclass
class Report:
    """What became of one function."""

    sketches: int = 0
    sampled: int = 0
    materialised: int = 0
    compared: int = 0
    first_s: float | None = None
    tuned: bool = False
    problems: list[Problem] = field(default_factory=list)

    def add(self, kind: str, detail: object) -> None:
        """Note a problem; of an exception its last line, the rest is in the repetition."""
        text = str(detail)
        if isinstance(detail, BaseException):
            lines = text.strip().splitlines() or [""]
            text = f"{type(detail).__name__}: {lines[-1]}"
        self.problems.append(Problem(kind, text[:600]))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def check(
    function: Function,
    seed: int,
    target: tvm.target.Target,
    *,
    configs: int = 2,
    tune: bool = False,
) -> Report:
    """Open the spaces of a function, sample, build, run and compare; tune it too if asked to."""
    report = Report()
    arguments = random_inputs(function, np.random.default_rng(seed))
    expected = interpret(function, arguments)
    try:
        mod = normalize_mod(prim_func(function))
    except ValueError as error:
        report.add("refused", error)
        return report
    folder = tempfile.mkdtemp(prefix="fuzz-")
    try:
        judge = _Judge(target, store(arguments, expected, folder))
        problem = judge.compare([mod])[0]
        if problem is not None:
            report.add("unscheduled", problem.detail)
            return report
        schedules = _candidates(mod, target, seed, configs, report)
        for problem in judge.compare([schedule.mod for schedule in schedules]):
            report.compared += 1
            if problem is not None:
                report.problems.append(problem)
        if tune:
            _tuned(mod, target, seed, folder, judge, report)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _candidates(
    mod: tvm.IRModule, target: tvm.target.Target, seed: int, configs: int, report: Report
) -> list[Any]:
    begin, found = time.perf_counter(), []
    rng = np.random.default_rng(seed)
    try:
        sketches = mschedx.space.sketches(mod, target)
    except UnsupportedTrace as error:
        report.add("refused", error)
        return []
    except Exception as error:  # whatever it is, it is what is looked for
        report.add("crash", error)
        return []
    report.sketches = len(sketches)
    for sketch in sketches[:: max(1, len(sketches) // _MOST_SKETCHES)]:
        try:
            drawn = sketch.sample(configs, rng)
            outcomes = sketch.schedules(drawn, threads=1)
        except (EmptySpace, UnsupportedTrace) as error:
            report.add("refused", error)
            continue
        except Exception as error:  # whatever it is, it is what is looked for
            report.add("crash", error)
            continue
        for outcome in outcomes:
            report.sampled += 1
            if isinstance(outcome, InvalidSchedule):
                report.add("allowed", outcome)
                continue
            report.materialised += 1
            if report.first_s is None:
                report.first_s = time.perf_counter() - begin
            found.append(outcome)
    return found


def _tuned(
    mod: tvm.IRModule,
    target: tvm.target.Target,
    seed: int,
    folder: str,
    judge: _Judge,
    report: Report,
) -> None:
    report.tuned = True
    try:
        result = mschedx.tune(
            mod, target, trials=2, work_dir=os.path.join(folder, "tuned"), progress=False, seed=seed
        )
    except Exception as error:  # whatever it is, it is what is looked for
        report.add("crash", error)
        return
    if result.schedule is None:
        failed = [trial.error for trial in result.history if trial.error]
        if result.notes or failed:
            report.add("refused", "; ".join([*result.notes, *map(str, failed[:1])]))
        else:
            report.add("silent", f"tune: latency {result.latency_s}, no note")
        return
    problem = judge.compare([result.schedule.mod])[0]
    if problem is not None:
        report.problems.append(Problem(problem.kind, f"the winner of tune: {problem.detail}"))
    wrong = [note for note in result.notes if "disqualified" in note]
    if wrong:
        report.add("wrong", wrong[0])


def store(arguments: Sequence[np.ndarray], expected: Sequence[Value], folder: str) -> str:
    """Write what goes in and must come out as ``verification_jobs.run_and_compare`` reads it."""
    content: dict[str, Any] = {}
    for i, (before, after) in enumerate(zip(arguments, expected, strict=True)):
        content[f"before_{i}"] = np.frombuffer(before.tobytes(), np.uint8)
        rounded = np.ascontiguousarray(after.data, before.dtype)
        content[f"after_{i}"] = np.frombuffer(rounded.tobytes(), np.uint8)
        content[f"off_{i}"] = _SLACK * np.max(after.error, initial=0.0)
        if before.dtype.kind not in "iub":  # the expected value itself is rounded
            off = np.abs(rounded.astype(np.float64) - after.data)
            content[f"off_{i}"] += np.max(off, initial=0.0)
    path = os.path.join(folder, "expected.npz")
    np.savez(path, **content)
    return path


class _Judge:
    """Builds and runs programs in a worker process and compares what they leave with NumPy."""

    def __init__(self, target: tvm.target.Target, path: str) -> None:
        self.path = path
        self.target = tvm.ir.save_json(target)
        memory = max(1 << 30, total_memory_bytes() // 4)
        self.config = PoolConfig(workers=1, cores=1, memory_bytes=memory)

    def compare(self, mods: Sequence[tvm.IRModule]) -> list[Problem | None]:
        """What is wrong with each program; None if nothing is."""

        def job(mod: tvm.IRModule) -> Job:
            texts = (tvm.ir.save_json(mod), self.target, self.path, 0.0)
            return Job(verification_jobs.run_and_compare, texts)

        jobs = [lambda mod=mod: job(mod) for mod in mods]
        outcomes = carry_out(self.config, jobs, kind="run", timeout_s=60.0)
        found: list[Problem | None] = []
        for outcome in outcomes:
            if outcome.error is not None:
                found.append(Problem("failed", outcome.error[-600:]))
            else:
                reason = outcome.value.reason
                found.append(Problem("wrong", reason) if reason else None)
        return found
