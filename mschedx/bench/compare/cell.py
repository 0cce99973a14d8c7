"""One cell of a comparison: one tuner on one workload with one seed, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mschedx.record.lines import write_atomic
from mschedx.workloads import Workload

if TYPE_CHECKING:
    from .host import Host


@dataclass(frozen=True, slots=True)
class Cell:
    """What is run: names, and the budget."""

    workload: Workload
    tuner: str
    seed: int
    trials: int
    timeout_s: float | None = None

    @property
    def key(self) -> str:
        return f"{self.workload.name}-{self.tuner}-{self.seed}-{self.trials}"


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
        Seconds by stage, of MetaSchedule's profile.
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


def cell_environment() -> dict[str, str]:
    """Give the environment of a cell, in which TVM's kernels use all cores."""
    from mschedx import compat

    return {**os.environ, **compat.cores_environment(compat.available_cores())}


def run_cell(cell: Cell, work_dir: Path, host: Host | None = None) -> CellResult:
    """Tune in a process of its own: one that `host` forks, or a new one.

    A process that dies is a result with an ``error``, not an exception.
    """
    from .tuners import find_tuner

    work_dir.mkdir(parents=True, exist_ok=True)
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


def _run_new(request: str, log: Path) -> tuple[int, float]:
    begin = time.perf_counter()
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-m", __name__, request],
            env=cell_environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode, time.perf_counter() - begin


def _collect(cell: Cell, work_dir: Path, wall: float, error: str | None) -> CellResult:
    from mschedx.record.trials import read_run
    from mschedx.report.analysis import group_stages

    try:
        run = read_run(work_dir)
    except FileNotFoundError:
        trials: Sequence[Any] = ()
        stages, failures = {}, {}
    else:
        trials, stages, failures = run.trials[: cell.trials], run.stages, run.failures()
    start = work_dir / "startup_s"
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
    )


def tune_cell(request: str) -> None:
    """Tune as the request says: what the cell's process does."""
    fields = json.loads(request)
    work_dir = Path(fields.pop("work_dir"))
    named = fields.pop("workload")
    workload = Workload(named["name"], named["op"], tuple(named["shape"]), named["dtype"])
    cell = Cell(workload=workload, **fields)
    func = workload.func()

    import psutil

    from .tuners import find_tuner

    startup = time.time() - psutil.Process().create_time()
    write_atomic(work_dir / "startup_s", f"{startup:.3f}")
    tuner = find_tuner(cell.tuner)
    if tuner.stock:
        _stock(cell, func, work_dir)
        return
    from mschedx.tuning import tune

    tune(
        func,
        trials=cell.trials,
        seed=cell.seed,
        work_dir=work_dir,
        timeout_s=cell.timeout_s,
        progress=False,
        verify=False,
        **tuner.parts(),
    )


def _stock(cell: Cell, func: Any, work_dir: Path) -> None:
    from tvm.s_tir import meta_schedule as ms

    from mschedx.hardware import host_target
    from mschedx.record.rounds import Round, after_round
    from mschedx.record.trials import Journal, Trial

    journal, begin = Journal(work_dir), time.perf_counter()

    def note(done: Round) -> None:
        """Journal when the round was known; TVM's records hold everything else."""
        elapsed = time.perf_counter() - begin
        first = len(done.scheduler.database_) - len(done.candidates)
        journal.trials(
            [
                Trial(index=first + i, record=first + i, elapsed_s=elapsed)
                for i in range(len(done.candidates))
            ]
        )

    ms.tune_tir(
        func,
        host_target(),
        str(work_dir),
        cell.trials,
        measure_callbacks=[*ms.MeasureCallback.create("default"), after_round(note)],
        seed=cell.seed,
    )


if __name__ == "__main__":
    tune_cell(sys.argv[1])
