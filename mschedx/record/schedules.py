"""From a record back to the schedule that was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from .errors import WorkDirError
from .formats import TVMReader
from .intrinsics import intrinsics_of, require_intrinsics
from .trials import Run

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.s_tir import Trace

DOES_NOT_REPLAY = (RuntimeError, ValueError, TypeError, AttributeError, LookupError)
"""What reading or replaying a record raises that is of another version of TVM, or names intrinsics
that are not registered here; an IndexError where its trace has fewer inputs than it says."""


def read_record(content: list[Any], workload: ms.database.Workload) -> ms.database.TuningRecord:
    """Read a record.

    Raises
    ------
    WorkDirError
        If its trace names tensor intrinsics that are not registered; those of mschedx are.
    """
    require_intrinsics(intrinsics_of(content[0]))
    return ms.database.TuningRecord.from_json(content, workload)


def trace_of(schedule: Schedule) -> Trace:
    """Give a schedule's trace, which every schedule made in Python keeps."""
    assert schedule.trace is not None
    return schedule.trace


def load_database(run: Run) -> ms.database.MemoryDatabase:
    """Give the records of a run that TVM can load as a database in memory.

    TVM's own reader stops at the first line that it cannot use, some of which end the process.

    Raises
    ------
    WorkDirError
        If the workload cannot be loaded, or none of its records; it names the first reason.
    """
    if run.module is None:
        raise WorkDirError(f"{run.path} has no workload {run.workload}")
    reader = TVMReader()
    why = reader.workload(run.module)
    if why is not None:
        raise WorkDirError(f"{run.path}: TVM cannot read workload {run.workload}: {why}")
    database = ms.database.MemoryDatabase()
    workload = database.commit_workload(ms.database.Workload.from_json(run.module).mod)
    reasons = []
    for record in run.records.values():
        why = reader.record([run.workload, record], run.module)
        if why is None:
            database.commit_tuning_record(read_record(record, workload))
        else:
            reasons.append(why)
    if reasons and len(reasons) == len(run.records):
        raise WorkDirError(
            f"{run.path}: this TVM can load none of the {len(reasons)} records of workload "
            f"{run.workload}: {reasons[0]}"
        )
    return database


def replay(trace: Any, mod: IRModule) -> Schedule:
    """Apply a record's trace, postprocs included, to the unscheduled module."""
    schedule = Schedule(mod, debug_mask="none")
    trace.apply_to_schedule(schedule, remove_postproc=False)
    return schedule
