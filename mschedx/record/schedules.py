"""From a record back to the schedule that was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

if TYPE_CHECKING:
    from tvm import IRModule


def read_record(content: list[Any], workload: ms.database.Workload) -> ms.database.TuningRecord:
    """Read a record; the tensor intrinsics that its trace names are registered for it."""
    import mschedx.intrinsics  # noqa: F401

    return ms.database.TuningRecord.from_json(content, workload)


def replay(trace: Any, mod: IRModule) -> Schedule:
    """Apply a record's trace, postprocs included, to the unscheduled module."""
    schedule = Schedule(mod, debug_mask="none")
    trace.apply_to_schedule(schedule, remove_postproc=False)
    return schedule
