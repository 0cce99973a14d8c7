"""The table at the end of ``mschedx tune``: what was gained, and where it lies."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np

from mschedx.measure.timing import numpy_dtype
from mschedx.report.progress import describe_failures, format_seconds
from mschedx.tune_result import TuneResult
from mschedx.workloads import Workload

from .fair import Timer, bound, time_all, timed
from .torch_process import TorchProcess
from .vendor import inputs, numpy_call


def print_summary(workload: Workload, result: TuneResult, *, compare: bool = True) -> None:
    """Save the winner, time it beside the alternatives, and print what came out."""
    from rich.console import Console

    files = result.save()
    console = Console(width=None if sys.stdout.isatty() else 100)
    if compare and not result.interrupted and _runs_here(result):
        console.print(_table(workload, result))
    else:
        console.print(
            f"{workload.op} {workload.shape} {workload.dtype}: "
            f"{format_seconds(result.latency_s)}, {result.gflops:.1f} GFLOP/s"
        )
    checked = "output checked" if result.verified else "output not checked"
    ended = " (interrupted)" if result.interrupted else " (time is up)" if result.timed_out else ""
    console.print(
        f"{len(result.history)} trials, {result.measured} measured now in "
        f"{result.wall_s:.1f} s{ended}{describe_failures(result.failures)}; {checked}"
    )
    console.print(f"schedule  {files['schedule']}", soft_wrap=True)
    console.print(f"database  {result.work_dir}", soft_wrap=True)


def _runs_here(result: TuneResult) -> bool:
    """Whether this machine has shown, or its target says, that it runs the winner."""
    from mschedx.hardware import system_cpu

    if result.target.kind.name != "llvm":
        return False
    cpu = str(result.target.attrs.get("mcpu", None) or system_cpu())
    return not result.predicted or cpu == system_cpu()


def _table(workload: Workload, result: TuneResult) -> Any:
    from rich.table import Table

    rates = compare_rates(workload, result)
    unit = "GOP/s" if workload.dtype == "int8" else "GFLOP/s"
    title = f"{workload.op} {'×'.join(map(str, workload.shape))} {workload.dtype}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("latency", unit, "of peak"):
        table.add_column(name, justify="right")
    peak = rates.pop("peak", None)
    for name, seconds in rates.items():
        rate = result.flops / seconds / 1e9
        share = f"{rate / peak:.0%}" if peak else "-"
        style = "bold" if name == "mschedx" else ""
        table.add_row(name, format_seconds(seconds), f"{rate:.1f}", share, style=style)
    if peak:
        table.add_row("peak, measured", "", f"{peak:.1f}", "100%", style="dim")
    return table


def compare_rates(workload: Workload, result: TuneResult) -> dict[str, float]:
    """Seconds of the unscheduled program, the winner, NumPy and torch; "peak" in GFLOP/s.

    All are timed in turn in this process, on all cores; the fastest group of each counts.
    """
    import tvm

    arrays = inputs(workload)
    out = list(workload.func().params)[-1]
    zeros = np.zeros([int(d) for d in out.shape], numpy_dtype(str(out.dtype)))
    name = str(result.mod["main"].attrs["global_symbol"])
    kernels = {
        "unscheduled": bound(tvm.compile(result.mod, target=result.target)[name], [*arrays, zeros]),
        "mschedx": bound(result.compile()[name].function, [*arrays, zeros]),
    }
    others: dict[str, Timer | None] = {}
    peak = None
    if workload.dtype == "float32":
        from mschedx.hardware.peak import peak_kernel

        peak = peak_kernel(result.target, steps=100_000)
        kernels["peak"] = peak.call()
    with TorchProcess() as torch:
        in_numpy = numpy_call(workload, arrays)
        others["NumPy"] = in_numpy and partial(timed, in_numpy)
        others["torch"] = torch.timer(workload)
        timings = time_all(kernels, {name: timer for name, timer in others.items() if timer})
    rates = {key: timing.min_s for key, timing in timings.items()}
    if peak is not None:
        rates["peak"] = peak.flops / rates["peak"] / 1e9
    return rates
