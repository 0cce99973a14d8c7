"""Run the cells of a comparison in turn, keep every result, and time all winners at the end.

A folder keeps what every call has measured, by keys; ``comparison.json`` says what the last call
compared, which is what a report shows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mschedx.files import write_atomic
from mschedx.ranges import require_counts
from mschedx.record.lines import append_lines, read_lines
from mschedx.record.lock import locked
from mschedx.workloads import Workload

from ..torch_process import TorchProcess
from .cell import Cell, CellResult, cell_environment, run_cell
from .host import Host
from .statistics import with_failed
from .tuners import Tuner

RESULTS = "cells.jsonl"
FINAL = "final.jsonl"
ASKED = "comparison.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is compared, and where results go. The same folder resumes.

    Attributes
    ----------
    timeout_s : float | None
        Seconds of tuning after which a run starts no further round.
    warm : bool
        Fork the cells from one process that has imported everything, see
        :mod:`mschedx.bench.compare.host`; their times then leave the imports out.
    first_seed : int
        The seeds are this and the ones after it: a long comparison can be run in pieces.
    reference : str | None
        Name of the tuner that ratios are over; the last one when None.
    reference_trials : int | None
        Trials of that tuner, if not as many as of the others: how soon others are as good as what
        it finds in a longer run.

    Raises
    ------
    ValueError
        For seeds, trials or reference trials below 1, a first seed or a timeout that `tune` does
        not take, and a reference that is none of the tuners.
    """

    workloads: Sequence[Workload]
    tuners: Sequence[Tuner]
    seeds: int
    trials: int
    path: Path
    timeout_s: float | None = None
    warm: bool = False
    first_seed: int = 0
    reference: str | None = None
    reference_trials: int | None = None

    def __post_init__(self) -> None:
        from mschedx.inputs import check_seconds, check_seed

        require_counts(self, "seeds", "trials")
        require_counts(self, "reference_trials", optional=True)
        check_seed(self.first_seed)
        check_seconds("timeout_s", self.timeout_s)
        if self.over not in self.names:
            raise ValueError(
                f"expected one of the tuners as reference: {self.over} is not among "
                f"{', '.join(self.names)}"
            )

    @property
    def names(self) -> list[str]:
        """Of the tuners."""
        return [tuner.name for tuner in self.tuners]

    @property
    def over(self) -> str:
        """Name of the tuner that ratios are over."""
        return self.reference or self.names[-1]

    def cells(self) -> Iterator[Cell]:
        """All cells, ordered so that drift of the machine hits all tuners alike.

        Seeds are outermost, tuners innermost, and each workload starts with another tuner.
        """
        for seed in range(self.first_seed, self.first_seed + self.seeds):
            for place, workload in enumerate(self.workloads):
                for turn in range(len(self.tuners)):
                    name = self.names[(turn + place + seed) % len(self.tuners)]
                    trials = self.reference_trials if name == self.over else None
                    budget = (trials or self.trials, self.timeout_s)
                    yield Cell(workload, name, seed, *budget, self.warm)


def run_comparison(
    comparison: Comparison, say: Callable[[str], None] = lambda text: None
) -> list[CellResult]:
    """Run the cells that have no result yet, or one with an error; gives all results.

    A cell that was cut short begins anew, and so does one of another machine or version, and of a
    user's own tuner whose file has changed.

    Raises
    ------
    WorkDirError
        If another process compares into the same folder.
    """
    comparison.path.mkdir(parents=True, exist_ok=True)
    with _alone(comparison):
        write_atomic(comparison.path / ASKED, json.dumps(_asked(comparison), indent=1) + "\n")
        return _run_missing(comparison, say)


def _alone(comparison: Comparison) -> AbstractContextManager[None]:
    return locked(
        comparison.path, "compared into", "wait for it, stop it, or choose another folder (--out)"
    )


def _asked(comparison: Comparison) -> dict[str, Any]:
    """What is compared, as JSON."""
    return {
        "tuners": comparison.names,
        "reference": comparison.over,
        "cells": [cell.key for cell in comparison.cells()],
    }


def _run_missing(comparison: Comparison, say: Callable[[str], None]) -> list[CellResult]:
    from ..collect import this_machine

    file = comparison.path / RESULTS
    cells = list(comparison.cells())
    code = {tuner.name: tuner.code for tuner in comparison.tuners}
    asked = {cell.key for cell in cells}
    read = read_results(comparison.path, say)
    ran = [result for result in read if result.error is None and result.key in asked]
    here = [one for one in ran if one.machine in (None, this_machine())]
    known = {one.key: one for one in here if one.code in (None, code.get(one.tuner))}
    if len(here) < len(ran):
        say("runs of another machine or version are left aside, and done here anew")
    changed = {one.tuner for one in here if one.key not in known}
    if changed:
        say(f"runs of {', '.join(sorted(changed))} with other code are left aside, and done anew")
    if known:
        say(f"{len(known)} of {len(cells)} runs are in {file} already")
    with Host(cell_environment()) as host:
        for number, cell in enumerate(cells):
            if cell.key in known:
                continue
            work_dir = comparison.path / "runs" / cell.key
            result = run_cell(cell, work_dir, host if comparison.warm else None)
            result = replace(result, code=code[cell.tuner])
            known[cell.key] = result
            append_lines(file, [asdict(result)])
            best = min((s for s in result.latency_s if s is not None), default=math.inf)
            found = f"best {best * 1e3:.4g} ms" if result.has_run else "nothing ran"
            say(
                f"[{number + 1}/{len(cells)}] {cell.key}: {found}, {result.wall_s:.1f} s"
                f"{' FAILED: ' + result.error if result.error else ''}"
            )
    return [known[cell.key] for cell in cells]


def read_results(path: Path, say: Callable[[str], None] = lambda text: None) -> list[CellResult]:
    """Read the results of a folder, the last of each cell; lines cut short are left out.

    So are those of another machine or version than the last: they are not compared with it. Of
    lines that lack what this version needs it is said that they are left out.
    """
    lines = [line.content for line in read_lines(path / RESULTS) if line.content]
    found = [result for result in map(_result, lines) if result is not None]
    if len(found) < len(lines):
        count = len(lines) - len(found)
        say(f"{path / RESULTS}: left out are {count} lines that are no results of this version")
    last = next((one.machine for one in reversed(found) if one.machine is not None), None)
    return list({one.key: one for one in found if one.machine in (None, last)}.values())


def _result(line: Any) -> CellResult | None:
    """What a line says, as far as this version knows it; None where it lacks what is needed."""
    known = {field.name: field for field in fields(CellResult)}
    needed = {name for name, field in known.items() if field.default is MISSING}
    if not isinstance(line, dict) or not needed <= line.keys():
        return None
    return CellResult(**{name: value for name, value in line.items() if name in known})


def read_timed(path: Path) -> dict[str, dict[str, Any]]:
    """Read the last line of timed winners of each workload; others than such lines are left out."""
    lines = [line.content for line in read_lines(path / FINAL)]
    needed = {"workload", "runs", "seconds"}
    whole = [line for line in lines if isinstance(line, dict) and needed <= line.keys()]
    return {line["workload"]: line for line in whole}


def time_winners(
    comparison: Comparison, say: Callable[[str], None] = lambda text: None
) -> dict[str, dict[str, float]]:
    """Time the winners of all runs of a workload, NumPy, torch and the peak in turn.

    Returns
    -------
    dict[str, dict[str, float]]
        By workload: seconds by ``tuner/seed`` (inf where a run has no winner), "NumPy" and "torch";
        "peak" in FLOP/s and "flops" of one run.
    """
    with _alone(comparison), TorchProcess() as torch:
        file = comparison.path / FINAL
        known = read_timed(comparison.path)
        results = {result.key: result for result in read_results(comparison.path)}
        for workload in comparison.workloads:
            cells = [cell for cell in comparison.cells() if cell.workload.name == workload.name]
            runs = {c.name: results[c.key].run for c in cells if c.key in results}
            done = known.get(workload.name)
            if done is not None and done["runs"] == runs:
                continue
            say(f"timing the winners of {workload.name}")
            folders = {cell.name: comparison.path / "runs" / cell.key for cell in cells}
            seconds = _time(workload, folders, torch)
            known[workload.name] = {"workload": workload.name, "runs": runs, "seconds": seconds}
            append_lines(file, [known[workload.name]])
    return {w.name: timed_seconds(known[w.name]) for w in comparison.workloads}


def timed_seconds(line: dict[str, Any]) -> dict[str, float]:
    """What a line of timed winners says: seconds by name, inf for a run that has no winner."""
    return with_failed(line["seconds"], line["runs"])


def _time(workload: Workload, runs: dict[str, Path], torch: TorchProcess) -> dict[str, float]:
    from mschedx.hardware import host_target
    from mschedx.hardware.peak import peak_kernel
    from mschedx.inputs import normalize_mod
    from mschedx.tuning import estimate_flops

    from ..beside import compared

    target, mod = host_target(), normalize_mod(workload.func())
    found = {name: _compile(mod, target, path) for name, path in runs.items()}
    kernels = {name: kernel for name, kernel in found.items() if kernel is not None}
    peak = peak_kernel(target, steps=50_000)
    timed = compared(workload, kernels, peak=peak, torch=torch)
    assert timed.peak_flops is not None
    return {**timed.seconds, "peak": timed.peak_flops, "flops": estimate_flops(mod)}


def _compile(mod: Any, target: Any, path: Path) -> Any:
    """Compile the fastest record whose output is right; None if there is none."""
    import tvm

    from mschedx.record.trials import read_run
    from mschedx.record.work_dir import open_work_dir
    from mschedx.winner import choose_winner

    with open_work_dir(path, target) as opened:
        try:
            run = read_run(path)
        except FileNotFoundError:
            return None
        winner, _ = choose_winner(run, mod, target, opened, verify=True)
    return tvm.compile(winner.schedule.mod, target=target)["main"] if winner else None
