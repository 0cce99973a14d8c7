"""The function as it is, as a candidate: what is measured where nothing can be searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tvm.runtime import device_from_target
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from mschedx.record.rounds import Round

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target


def unscheduled_candidate(mod: IRModule) -> ms.MeasureCandidate:
    """Give the function without any change.

    Its trace looks up a block: TVM passes over records whose trace is empty.
    """
    schedule = Schedule(mod)
    root = mod["main"].body.block.name_hint
    schedule.get_sblock(root, func_name="main")
    return ms.MeasureCandidate(schedule, ms.arg_info.ArgInfo.from_entry_func(mod, True))


def measure_unscheduled(mod: IRModule, target: Target, builder: Any, runner: Any) -> Round:
    """Build and run the function as it is, as TVM's scheduler does with a batch of one."""
    candidate = unscheduled_candidate(mod)
    (built,) = builder.build([ms.builder.BuilderInput(candidate.sch.mod, target)])
    if built.error_msg is not None:
        ran = ms.runner.RunnerResult(None, built.error_msg)
    else:
        device = str(device_from_target(target)).partition(":")[0]
        inputs = [ms.runner.RunnerInput(built.artifact_path, device, candidate.args_info)]
        (future,) = runner.run(inputs)
        ran = future.result()
    return Round(None, 0, [candidate], [built], [ran])


def commit(measured: Round, database: ms.Database, mod: IRModule, target: Target) -> None:
    """Add the record of such a round to a database."""
    (candidate,), (ran,) = measured.candidates, measured.ran
    workload = database.commit_workload(mod)
    database.commit_tuning_record(
        ms.database.TuningRecord(
            candidate.sch.trace, workload, ran.run_secs, target, candidate.args_info
        )
    )
