"""The function as it is, measured where there is no search that could propose it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mschedx.measure.candidates import build_all, run_all
from mschedx.record.rounds import Round
from mschedx.search.as_it_is import unscheduled_candidate

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target


def measure_unscheduled(mod: IRModule, target: Target, builder: Any, runner: Any) -> Round:
    """Build and run the function as it is, as TVM's scheduler does with a batch of one."""
    candidate = unscheduled_candidate(mod)
    built = build_all([candidate.sch.mod], target, builder)
    ran = run_all(built, [candidate.args_info], target, runner)
    return Round(None, 0, [candidate], built, ran)
