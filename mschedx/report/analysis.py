"""All that a report shows of a run, computed; :mod:`mschedx.report.page` draws it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mschedx.error_text import last_line
from mschedx.hardware import Hardware
from mschedx.record.contents import WORKLOADS
from mschedx.record.trials import Run, read_run

from .decisions import Importance, importances

_STAGES = {
    "SendToBuilder": "build",
    "SendToRunner": "run",
    "JoinRunnerFutures": "run",
    "MeasureCallback/UpdateCostModel": "train",
    "MeasureCallback/AddToDatabase": "record",
    "MeasureCallback/PyMeasureCallback": "record",
    "MeasureCallback/RemoveBuildArtifact": "record",
    "EvoSearch/Evolve/PredictNormalizedScore": "predict",
    **{name: name for name in ("draft", "lower", "predict", "train")},  # `mschedx.run_stages`
}


@dataclass(frozen=True, slots=True)
class Report:
    """What :func:`analyse_run` finds.

    Attributes
    ----------
    flops, bytes_moved : float
        Of one run: arithmetic, and all arguments once.
    stages : dict[str, float]
        Seconds by stage, as `group_stages` gives them.
    hardware : Hardware | None
        With rates, for the roofline; None where they are not known.
    arguments : list[str]
        dtype and shape of each parameter.
    unscheduled, scheduled : str
        TVMScript; empty where TVM cannot replay the record.
    """

    run: Run
    target: dict[str, Any]
    flops: float
    bytes_moved: float
    stages: dict[str, float]
    importance: list[Importance]
    hardware: Hardware | None
    arguments: list[str]
    unscheduled: str
    scheduled: str
    trace: list[str]

    @property
    def peak(self) -> tuple[str, float] | None:
        """Name and FLOP/s of the rate that bounds such arguments; None where it is not known."""
        dtypes = {argument.split()[0] for argument in self.arguments}
        if self.hardware is None or dtypes & {"int8", "uint8"}:
            return None
        floats = {dtype for dtype in dtypes if "float" in dtype}
        on_tensor_cores = floats - {"float32"} == {"float16"} and self.hardware.kind == "cuda"
        if floats != {"float32"} and not on_tensor_cores:
            return None
        rate = self.hardware.peak_tensor_flops if on_tensor_cores else self.hardware.peak_flops
        return ("f16 tensor peak" if on_tensor_cores else "fp32 peak", rate) if rate else None


def analyse_run(path: str | Path, workload: int | None = None, *, calibrate: bool = True) -> Report:
    """Read a work_dir and compute what a report shows.

    Parameters
    ----------
    path : str | Path
        A work_dir of ours or of stock TVM.
    workload : int, optional
        Line in ``database_workload.json``; the one with most records when None.
    calibrate : bool
        Measure this machine's peak (a second) where the run's target is this machine.

    Raises
    ------
    FileNotFoundError
        If there is no database in the folder.
    ValueError
        If there are no trials in it, or none of this workload.
    """
    run = read_run(path, workload)
    if not run.trials:
        raise ValueError(f"{run.path} has no trials yet")
    records = run.records
    ran = [t for t in run.trials if t.latency_s is not None]
    best = run.best
    shown = records[best.record if best else min(records)]
    target = shown[2]
    module = _module(run)
    scheduled, trace = _scheduled(module, shown) if best else ("", [])
    return Report(
        run=run,
        target=target,
        flops=_flops(module),
        bytes_moved=float(sum(_bytes(argument) for argument in shown[3])),
        stages=group_stages(run.stages),
        importance=importances(
            [records[t.record][0] for t in ran], [t.latency_s or math.inf for t in ran]
        ),
        hardware=_hardware(target, calibrate),
        arguments=[f"{dtype} {'×'.join(map(str, shape))}" for _, dtype, shape in shown[3]],
        unscheduled=module.script(),
        scheduled=scheduled,
        trace=trace,
    )


def group_stages(stages: dict[str, float]) -> dict[str, float]:
    """Sum MetaSchedule's profile by stage; what no stage claims is the search's.

    Of a strategy of ours that is opening design spaces, sampling, and choosing. Of TVM's it holds
    all of the search but what its cost model predicts.

    Parameters
    ----------
    stages : dict[str, float]
        Seconds by TVM's names and those of `mschedx.run_stages`, with their ``"Total"``.
    """
    total = stages.get("Total", 0.0)
    if not total:
        return {}
    grouped: dict[str, float] = {}
    for name, seconds in stages.items():
        if name in _STAGES:
            grouped[_STAGES[name]] = grouped.get(_STAGES[name], 0.0) + seconds
    grouped["search"] = max(0.0, total - sum(grouped.values()))
    return dict(sorted(grouped.items(), key=lambda item: -item[1]))


def _module(run: Run) -> Any:
    from tvm.s_tir.meta_schedule.database import Workload

    try:
        return Workload.from_json(run.module).mod
    except Exception as error:  # TVM raises whatever its parsers raise
        raise ValueError(
            f"TVM cannot read the function, line {run.workload + 1} of {run.path / WORKLOADS}: "
            f"{last_line(error)}"
        ) from error


def _scheduled(module: Any, record: list[Any]) -> tuple[str, list[str]]:
    from tvm.s_tir.meta_schedule.database import Workload

    from mschedx.record.schedules import DOES_NOT_REPLAY, read_record, replay, trace_of

    try:
        schedule = replay(read_record(record, Workload(module)).trace, module)
    except DOES_NOT_REPLAY as error:
        return "", [f"# this record does not replay here: {last_line(error)}"]
    return schedule.mod.script(), [str(line) for line in trace_of(schedule).as_python()]


def _flops(module: Any) -> float:
    from tvm.s_tir.analysis import estimate_tir_flops

    return float(estimate_tir_flops(module))


def _bytes(argument: list[Any]) -> int:
    _, dtype, shape = argument
    found = re.search(r"\d+", dtype)  # the first: float8_e4m3fn
    bits = int(found[0]) if found else 8
    return math.prod(shape) * bits // 8


def _hardware(target: dict[str, Any], calibrate: bool) -> Hardware | None:
    from tvm.target import Target

    from mschedx.hardware import host_cores, is_known_gpu, system_cpu
    from mschedx.hardware.peak import calibrate as measured

    kind = target.get("kind")
    if kind not in ("llvm", "cuda"):
        return None
    resolved = Target(target)
    hardware = Hardware.from_target(resolved)
    if kind == "cuda":
        return hardware if is_known_gpu(resolved) else None
    here = system_cpu() == target.get("mcpu") and hardware.cores <= host_cores()
    return measured(resolved) if calibrate and here else None
