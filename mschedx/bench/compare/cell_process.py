"""What the process of a cell does: tune as it is asked, and note when it began to."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from mschedx.files import write_atomic
from mschedx.record.lock import locked
from mschedx.workloads import Workload

from .cell import STARTUP, Cell


def tune_cell(request: str) -> None:
    """Tune as the request says, which is a cell and its ``work_dir`` as JSON."""
    fields = json.loads(request)
    work_dir = Path(fields.pop("work_dir"))
    named = fields.pop("workload")
    workload = Workload(named["name"], named["op"], tuple(named["shape"]), named["dtype"])
    cell = Cell(workload=workload, **fields)
    func = workload.func()

    from .tuners import find_tuner

    tuner = find_tuner(cell.tuner)
    if tuner.stock:
        # As mschedx.tune does: the harness may be gone and started anew while this goes on.
        with locked(work_dir, "tuned into", "wait for it, or stop it"):
            _stock(cell, func, work_dir)
        return
    from mschedx.tuning import tune

    parts = tuner.parts()
    _note_startup(work_dir)
    tune(
        func,
        trials=cell.trials,
        seed=cell.seed,
        work_dir=work_dir,
        timeout_s=cell.timeout_s,
        progress=False,
        verify=False,
        **parts,
    )


def _note_startup(work_dir: Path) -> None:
    """Note what the trials' times leave out; nothing may be imported or made from here on."""
    import psutil

    startup = time.time() - psutil.Process().create_time()
    write_atomic(work_dir / STARTUP, f"{startup:.3f}")


class _OutOfTime(Exception):
    """Ends ``tune_tir`` from a callback; TVM turns it into a RuntimeError on its way."""


def _stock(cell: Cell, func: Any, work_dir: Path) -> None:
    from tvm.s_tir import meta_schedule as ms

    from mschedx.hardware import host_target
    from mschedx.record.rounds import Round, after_round
    from mschedx.record.trials import Journal, Trial

    target = host_target()
    callbacks = ms.MeasureCallback.create("default")
    journal, late = Journal(work_dir), False
    _note_startup(work_dir)
    begin = time.perf_counter()

    def note(done: Round) -> None:
        """Journal when the round was known; TVM's records hold everything else."""
        nonlocal late
        elapsed = time.perf_counter() - begin
        first = len(done.scheduler.database_) - len(done.candidates)
        journal.trials(
            [
                Trial(index=first + i, record=first + i, elapsed_s=elapsed)
                for i in range(len(done.candidates))
            ]
        )
        late = cell.timeout_s is not None and elapsed >= cell.timeout_s
        if late:
            raise _OutOfTime

    try:
        ms.tune_tir(
            func,
            target,
            str(work_dir),
            cell.trials,
            measure_callbacks=[*callbacks, after_round(note)],
            seed=cell.seed,
        )
    except (RuntimeError, _OutOfTime):
        if not late:
            raise


if __name__ == "__main__":
    tune_cell(sys.argv[1])
