"""One self-contained HTML page of a run: everything inline, nothing fetched."""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path

from mschedx.files import write_atomic
from mschedx.record.trials import Trial

from .analysis import Report
from .figures import run_figures
from .html import document, figure_section, section, tiles
from .progress import format_seconds
from .trials_table import trials_section


def build_page(report: Report) -> str:
    """Give the page's text."""
    run = report.run
    names = ", ".join(sorted({t.task for t in run.trials}))
    target = {k: v for k, v in report.target.items() if k not in ("keys", "tag") or v}
    under = (
        f"{escape(', '.join(report.arguments))}<br>{escape(json.dumps(target))} · "
        f"{escape(str(run.path))}"
    )
    more = {"failures": _examples(run.trials)}
    parts = [figure_section(figure, more.get(figure.name, "")) for figure in run_figures(report)]
    head = _failed(report) or _tiles(report)
    body = f"{head}{''.join(parts)}{trials_section(report)}{_winner(report)}"
    return document(f"Tuning {names} ({report.flops / 1e6:.4g} MFLOP)", under, body)


def _failed(report: Report) -> str:
    """Say first that nothing ran, where that is so."""
    run = report.run
    if run.best is not None:
        return ""
    reasons = ", ".join(f"{count} × {why}" for why, count in run.failures().items())
    text = f"None of {len(run.trials)} trials gave a latency: {reasons or 'no reason recorded'}."
    return section("No kernel was found", text, _examples(run.trials), failed=True)


def write_page(report: Report, path: Path) -> Path:
    """Write the page; gives its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, build_page(report))
    return path


def _tiles(report: Report) -> str:
    run, best = report.run, report.run.best
    failed = sum(run.failures().values())
    elapsed = max((t.elapsed_s or 0.0 for t in run.trials), default=0.0)
    rate = report.flops / best.latency_s / 1e9 if best and best.latency_s else 0.0
    name, peak = report.peak or ("peak", None)
    checked = "output checked" if best and best.record in run.verified else "output not checked"
    shown = [
        (format_seconds(best.latency_s or math.inf) if best else "-", f"best, {checked}"),
        (f"{rate:.1f}", "GFLOP/s"),
        (f"{rate * 1e9 / peak:.0%}" if peak else "-", f"of {name}"),
        (str(len(run.trials)), "trials"),
        (str(failed), "failed"),
        (format_seconds(elapsed) if elapsed else "-", "tuning time"),
    ]
    return tiles(shown)


def _examples(trials: tuple[Trial, ...]) -> str:
    """The first message of each reason for failing."""
    examples: dict[str, str] = {}
    for trial in trials:
        if trial.reason is not None:
            examples.setdefault(trial.reason, trial.error or "no message recorded")
    if not examples:
        return ""
    rows = "".join(
        f"<tr><td>{escape(why)}</td><td><pre>{escape(text[:600])}</pre></td></tr>"
        for why, text in examples.items()
    )
    return f"<details><summary>an example of each</summary><table>{rows}</table></details>"


def _winner(report: Report) -> str:
    if not report.scheduled:
        return section("The winner", " ".join(report.trace), "") if report.trace else ""
    path = report.run.path
    load = (
        "import tvm\nfrom tvm.s_tir import meta_schedule as ms\n\n"
        "import mschedx.intrinsics  # registers the instructions that schedules name\n\n"
        f"database = ms.database.JSONDatabase(work_dir={str(path)!r})\n"
        "schedule = ms.tir_integration.compile_tir(database, mod, target)  # mod: your PrimFunc\n"
        "kernel = tvm.compile(schedule.mod, target=target)\n"
    )
    trace = "\n".join(report.trace)
    return section(
        "The winner",
        "Load it with TVM, compile, and call it:",
        f"<pre>{escape(load)}</pre>"
        f"<details open><summary>scheduled program</summary>"
        f"<pre>{escape(report.scheduled)}</pre></details>"
        f"<details><summary>schedule</summary><pre>{escape(trace)}</pre></details>"
        f"<details><summary>unscheduled program</summary>"
        f"<pre>{escape(report.unscheduled)}</pre></details>",
    )
