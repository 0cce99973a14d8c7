"""Which record is the winner: the fastest whose output is right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from mschedx import measure
from mschedx.latency import FAILED_S
from mschedx.record.lines import read_lines, write_lines
from mschedx.record.schedules import read_record, replay
from mschedx.record.trials import Journal, Run, Trial
from mschedx.record.work_dir import WorkDir

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target


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
    the database, so that stock TVM does not pick it either.

    Returns
    -------
    winner : Winner | None
        None if no trial ran, or all that ran were wrong.
    notes : list[str]
        A line for each that was disqualified.
    """
    workload = ms.database.Workload(mod)
    journal = Journal(work_dir.path)
    notes: list[str] = []
    ranked = sorted(
        (t.latency_s, t.index, t.record, t)
        for t in run.trials
        if t.latency_s is not None and t.record is not None
    )
    for latency_s, index, line, trial in ranked:
        record = read_record(run.records[line], workload)
        schedule = replay(record.trace, mod)
        if not verify or line in run.verified:
            return Winner(trial, schedule, line in run.verified), notes
        result = measure.verify(schedule, mod, target)
        if result.ok:
            journal.append({"kind": "verified", "workload": run.workload, "record": line})
            return Winner(trial, schedule, True), notes
        if not result.checked:
            notes.append(f"the winner's output could not be checked: {result.reason}")
            return Winner(trial, schedule, False), notes
        notes.append(
            f"trial {index} ({latency_s * 1e6:.1f} us) computed something else than "
            f"the unscheduled program and is disqualified: {result.reason}"
        )
        journal.append(
            {
                "kind": "disqualified",
                "workload": run.workload,
                "record": line,
                "error": result.reason,
            }
        )
        journal.written(line, [_fail_record(work_dir, line)])
    return None, notes


def _fail_record(work_dir: WorkDir, record: int) -> list[Any]:
    """Mark a record as failed, by the number that it has in an opened work_dir; return it."""
    lines = read_lines(work_dir.records)
    workload, (trace, _, *rest) = lines[record].content
    texts = [line.text for line in lines]
    failed = [workload, [trace, [FAILED_S], *rest]]
    texts[record] = json.dumps(failed)
    write_lines(work_dir.records, texts)
    return failed
