"""One cell of a comparison: one tuner on one workload with one seed, as a process of its own.

This is the harness's side; what the process does is in :mod:`mschedx.bench.compare.cell_process`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mschedx.record.lock import locked
from mschedx.workloads import Workload

if TYPE_CHECKING:
    from .host import Host

STARTUP = "startup_s"
"""File of a cell's folder: seconds from the start of its process until it began to tune."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is run: names, the budget, and whether its process has everything imported."""

    workload: Workload
    tuner: str
    seed: int
    trials: int
    timeout_s: float | None = None
    warm: bool = False

    @property
    def name(self) -> str:
        """Tuner and seed: what tells the cells of a workload apart."""
        return f"{self.tuner}/{self.seed}"

    @property
    def key(self) -> str:
        """Text that differs wherever results must not stand for each other."""
        limit = "" if self.timeout_s is None else f"-{float(self.timeout_s)}s"
        start = "warm" if self.warm else "cold"
        return f"{self.workload.name}-{self.tuner}-{self.seed}-{self.trials}{limit}-{start}"


@dataclass(frozen=True, slots=True)
class CellResult:
    """What came out.

    Attributes
    ----------
    latency_s : list[float | None]
        Of each trial in order, seconds; None for a failure.
    elapsed_s : list[float]
        When each was known, seconds since the process started.
    wall_s : float
        Of the whole process.
    stages : dict[str, float]
        Seconds by stage, of MetaSchedule's profile: `mschedx.report.analysis.group_stages`.
    timeout_s : float | None
        The cell's.
    warm : bool | None
        The cell's; None where it was not written down.
    machine : dict | None
        Processor, cores and versions that it ran with, see `mschedx.bench.collect.this_machine`;
        None where they were not written down.
    code : str | None
        Its tuner's, see `Tuner.code`; None where it was not written down.
    """

    key: str
    workload: str
    tuner: str
    seed: int
    trials: int
    latency_s: list[float | None]
    elapsed_s: list[float]
    wall_s: float
    stages: dict[str, float]
    failures: dict[str, int]
    error: str | None = None
    timeout_s: float | None = None
    warm: bool | None = None
    machine: dict[str, Any] | None = None
    code: str | None = None

    @property
    def name(self) -> str:
        """The cell's."""
        return f"{self.tuner}/{self.seed}"

    @property
    def has_run(self) -> bool:
        """Whether a trial gave a latency."""
        return any(seconds is not None for seconds in self.latency_s)

    @property
    def run(self) -> dict[str, Any]:
        """What tells this run from others of its name, and from itself done again."""
        return {"key": self.key, "wall_s": self.wall_s}


def cell_environment() -> dict[str, str]:
    """Give the environment of a cell, in which TVM's kernels use all cores."""
    from mschedx import compat

    return {**os.environ, **compat.cores_environment(compat.available_cores())}


def run_cell(cell: Cell, work_dir: Path, host: Host | None = None) -> CellResult:
    """Tune in a process of its own: one that `host` forks, or a new one.

    What a run that was cut short has left in `work_dir` is removed: a continued search is another
    one than a search in one piece, and so are its times.

    A process that dies is a result with an ``error``, not an exception.

    Raises
    ------
    WorkDirError
        If the process of an earlier run is still at it.
    """
    from .tuners import find_tuner

    _empty(work_dir)
    request = json.dumps({**asdict(cell), "work_dir": str(work_dir)})
    log = work_dir / "output.log"
    if host is not None and not find_tuner(cell.tuner).stock:
        status, wall_s = host.run(request, log)
    else:
        status, wall_s = _run_new(request, log)
    error = None
    if status:
        words = log.read_text(errors="replace").strip().splitlines()[-3:]
        error = f"exit status {status}: {' / '.join(words)}"[:500]
    return _collect(cell, work_dir, wall_s, error)


def _empty(work_dir: Path) -> None:
    if work_dir.exists():
        with locked(work_dir, "tuned into", "wait for it, or stop it"):
            shutil.rmtree(work_dir)
    work_dir.mkdir(parents=True)


def _run_new(request: str, log: Path) -> tuple[int, float]:
    begin = time.perf_counter()
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-m", f"{__package__}.cell_process", request],
            env=cell_environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode, time.perf_counter() - begin


def _collect(cell: Cell, work_dir: Path, wall: float, error: str | None) -> CellResult:
    from mschedx.record.trials import read_run
    from mschedx.report.analysis import group_stages

    from ..collect import this_machine

    try:
        run = read_run(work_dir)
    except FileNotFoundError:
        trials: Sequence[Any] = ()
        stages, failures = {}, {}
    else:
        trials, stages, failures = run.trials[: cell.trials], run.stages, run.failures()
    start = work_dir / STARTUP
    startup = float(start.read_text()) if start.exists() else 0.0
    return CellResult(
        key=cell.key,
        workload=cell.workload.name,
        tuner=cell.tuner,
        seed=cell.seed,
        trials=cell.trials,
        latency_s=[t.latency_s for t in trials],
        elapsed_s=[startup + (t.elapsed_s or 0.0) for t in trials],
        wall_s=wall,
        stages=group_stages(stages),
        failures=failures,
        error=error,
        timeout_s=cell.timeout_s,
        warm=cell.warm,
        machine=this_machine(),
    )
