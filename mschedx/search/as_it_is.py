"""The function as it is, as a candidate: what is measured where nothing can be searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from mschedx.space.trace.instructions import touch

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.s_tir import Trace


def unscheduled_candidate(mod: IRModule) -> ms.MeasureCandidate:
    """Give the function without any change, and a trace that TVM can look up."""
    schedule = Schedule(mod)
    touch(schedule)
    return ms.MeasureCandidate(schedule, ms.arg_info.ArgInfo.from_entry_func(mod, True))


def is_unscheduled(trace: Trace) -> bool:
    """Tell whether a trace changes nothing."""
    return all(
        inst.kind.name == "EnterPostproc" or inst.kind.name.startswith("Get")
        for inst in trace.insts
    )


def are_unscheduled(candidates: Sequence[Any]) -> bool:
    """Tell whether a round's candidates are the function as it is, and nothing else."""
    return all(is_unscheduled(candidate.sch.trace) for candidate in candidates)
