"""The table at the end of ``mschedx tune``: what was gained, and where it lies."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mschedx.files import written_before
from mschedx.report.progress import describe_failures, format_seconds
from mschedx.tune_result import TuneResult
from mschedx.workloads import Workload

from .beside import BesideVendor, compared
from .console import table_console
from .torch_process import TorchProcess

_UNSCHEDULED = "unscheduled"
_UNSCHEDULED_FLOPS = 0.5e9
"""Operations a second of a program without a schedule, at the least that is usual."""
_LONGEST_UNSCHEDULED_S = 20.0
"""At that rate; a function that would take longer is not timed as it is. By hand."""


def print_summary(workload: Workload, result: TuneResult, *, compare: bool = True) -> None:
    """Save the winner, time it beside the alternatives, and print what came out.

    Where that timing ends in an error, or is interrupted, what was found before is printed first;
    where the winner cannot be saved, all of it is.
    """
    with written_before(result.save) as files:
        _print_found(workload, result, files, compare)


def _print_found(
    workload: Workload, result: TuneResult, files: Mapping[str, Path] | None, compare: bool
) -> None:
    console = table_console(100)
    if not (compare and not result.interrupted and _runs_here(result)):
        console.print(_in_a_line(workload, result))
        _print_files(console, result, files)
        return
    if sys.stdout.isatty():
        console.print("timing it beside the function as it is, NumPy and torch ...", style="dim")
    try:
        console.print(_table(workload, result))
    except BrokenPipeError:
        raise
    except BaseException:
        console.print(_in_a_line(workload, result))
        _print_files(console, result, files)
        raise
    _print_files(console, result, files)


def _in_a_line(workload: Workload, result: TuneResult) -> str:
    latency = format_seconds(result.latency_s)
    return (
        f"{workload.op} {workload.shape} {workload.dtype}: {latency}, {result.gflops:.1f} GFLOP/s"
    )


def _print_files(console: Any, result: TuneResult, files: Mapping[str, Path] | None) -> None:
    """Say how much was measured, and where that and the schedule lie."""
    checked = "output checked" if result.verified else "output not checked"
    ended = " (interrupted)" if result.interrupted else " (time is up)" if result.timed_out else ""
    console.print(
        f"{len(result.history)} trials, {result.measured} measured now in "
        f"{result.wall_s:.1f} s{ended}{describe_failures(result.failures)}; {checked}"
    )
    # Paths are copied from here: brackets and colons in them are no markup.
    plain = {"soft_wrap": True, "markup": False, "emoji": False, "highlight": False}
    if files is not None:
        console.print(f"schedule  {files['schedule']}", **plain)
    console.print(f"database  {result.work_dir}", **plain)


def _runs_here(result: TuneResult) -> bool:
    """Whether this machine has shown, or its target says, that it runs the winner."""
    from mschedx.hardware import other_architecture, system_cpu

    if result.target.kind.name != "llvm" or other_architecture(result.target):
        return False
    cpu = str(result.target.attrs.get("mcpu", None) or system_cpu())
    return not result.predicted or cpu == system_cpu()


def _table(workload: Workload, result: TuneResult) -> Any:
    from rich.table import Table

    found = compare_rates(workload, result)
    unit = "GOP/s" if workload.dtype == "int8" else "GFLOP/s"
    title = f"{workload.op} {'×'.join(map(str, workload.shape))} {workload.dtype}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("latency", unit, "of peak"):
        table.add_column(name, justify="right")
    peak = found.peak_flops
    if _UNSCHEDULED not in found.seconds:
        table.add_row(_UNSCHEDULED, "-", "-", "-")
    for name, seconds in found.seconds.items():
        rate = result.flops / seconds
        share = f"{rate / peak:.0%}" if peak else "-"
        style = "bold" if name == "mschedx" else ""
        table.add_row(name, format_seconds(seconds), f"{rate / 1e9:.1f}", share, style=style)
    if peak:
        table.add_row("peak, measured", "", f"{peak / 1e9:.1f}", "100%", style="dim")
    return table


def compare_rates(workload: Workload, result: TuneResult) -> BesideVendor:
    """Time the unscheduled program, the winner, NumPy and torch; the peak too for float32.

    The unscheduled program is left out where one call of it may take over 20 s.
    """
    import tvm

    name = str(result.mod["main"].attrs["global_symbol"])
    kernels = {}
    if result.flops / _UNSCHEDULED_FLOPS <= _LONGEST_UNSCHEDULED_S:
        kernels[_UNSCHEDULED] = tvm.compile(result.mod, target=result.target)[name]
    kernels["mschedx"] = result.compile()[name].function
    peak = None
    if workload.dtype == "float32":
        from mschedx.hardware.peak import peak_kernel

        peak = peak_kernel(result.target, steps=100_000)
    with TorchProcess() as torch:
        return compared(workload, kernels, peak=peak, torch=torch)
