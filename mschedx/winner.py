"""Which record is the winner: the fastest whose output is right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from mschedx import measure
from mschedx.error_text import last_line
from mschedx.latency import FAILED_S
from mschedx.record.errors import WorkDirError
from mschedx.record.lines import read_lines, write_lines
from mschedx.record.schedules import DOES_NOT_REPLAY, read_record, replay
from mschedx.record.trials import Journal, Run, Trial
from mschedx.record.work_dir import WorkDir

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target


_MOST_PASSED_OVER = 8
"""Records that do not run here before the machine is to blame."""


@dataclass(frozen=True, slots=True)
class Winner:
    """A trial, its schedule, and whether its output was compared."""

    trial: Trial
    schedule: Schedule
    verified: bool


def choose_winner(
    run: Run, mod: IRModule, target: Target, work_dir: WorkDir, *, verify: bool
) -> tuple[Winner | None, list[str]]:
    """Go through the trials from the fastest on, and take the first whose output is right.

    A record with a wrong output is disqualified: it becomes a failed trial in the journal and in
    the database, so that stock TVM does not pick it either. One that does not run here, or whose
    trace does not apply, may do so where it was measured: it is passed over and stays as it is.

    Returns
    -------
    winner : Winner | None
        Where none of the fastest runs here, the fastest, unchecked; None if no trial ran, or all
        that ran were wrong.
    notes : list[str]
        A line for each that was disqualified or passed over.
    """
    workload = ms.database.Workload(mod)
    journal = Journal(work_dir.path)
    notes: list[str] = []
    passed_over: list[Winner] = []
    ranked = sorted(
        (t.latency_s, t.index, t.record, t) for t in run.trials if t.latency_s is not None
    )
    for latency_s, index, line, trial in ranked:
        name = f"trial {index} ({latency_s * 1e6:.1f} us)"
        schedule, why = _replayed(run.records[line], workload, mod)
        if schedule is None:
            notes.append(f"{name} cannot be replayed here and is passed over: {why}")
            continue
        if not verify or line in run.verified:
            return Winner(trial, schedule, line in run.verified), notes
        result = measure.verify(schedule, mod, target)
        if result.ok:
            journal.append({"kind": "verified", "workload": run.workload, "record": line})
            return Winner(trial, schedule, True), notes
        if not result.checked:
            notes.append(f"the winner's output could not be checked: {result.reason}")
            return Winner(trial, schedule, False), notes
        if result.ran:
            notes.append(
                f"{name} computed something else than the unscheduled program and is "
                f"disqualified: {result.reason}"
            )
            _disqualify(work_dir, journal, run, line, result.reason)
            continue
        notes.append(f"{name} does not run here and is passed over: {result.reason}")
        passed_over.append(Winner(trial, schedule, False))
        if len(passed_over) == _MOST_PASSED_OVER:
            break
    if not passed_over:
        return None, notes
    notes.append(
        "the winner's output could not be checked: none of the records that were tried, "
        f"{len(passed_over)}, runs here"
    )
    return passed_over[0], notes


def _replayed(
    record: list[Any], workload: ms.database.Workload, mod: IRModule
) -> tuple[Schedule | None, str]:
    """The schedule of a record; None, and why, where its trace does not apply."""
    try:
        return replay(read_record(record, workload).trace, mod), ""
    except WorkDirError:
        raise
    except DOES_NOT_REPLAY as error:
        # Of another build of TVM, or of an intrinsic that is now described otherwise.
        return None, last_line(error)


def _disqualify(work_dir: WorkDir, journal: Journal, run: Run, line: int, why: str) -> None:
    journal.append({"kind": "disqualified", "workload": run.workload, "record": line, "error": why})
    journal.written(line, [_fail_record(work_dir, line)])


def _fail_record(work_dir: WorkDir, record: int) -> list[Any]:
    """Mark a record as failed, by the number that it has in an opened work_dir; return it."""
    lines = read_lines(work_dir.records)
    workload, (trace, _, *rest) = lines[record].content
    texts = [line.text for line in lines]
    failed = [workload, [trace, [FAILED_S], *rest]]
    texts[record] = json.dumps(failed)
    write_lines(work_dir.records, texts)
    return failed
