"""One self-contained HTML page of a run: everything inline, nothing fetched."""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path

from mschedx.report.analysis import Report
from mschedx.report.progress import format_seconds
from mschedx.report.records import Trial, best_so_far
from mschedx.report.svg import BLUE, GREY, ORANGE, RED, Chart, bars

_STYLE = """
:root { color-scheme: light }
body { margin: 0; background: #f6f7f9; color: #1c2430;
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 960px; margin: 0 auto; padding: 32px 20px 64px }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 17px; margin: 0 0 4px }
.sub, p { color: #566170; margin: 0 0 12px; overflow-wrap: anywhere }
section { background: #fff; border: 1px solid #e2e6eb; border-radius: 8px;
          padding: 18px 20px; margin-top: 18px }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px;
         margin-top: 18px }
.tile { background: #fff; border: 1px solid #e2e6eb; border-radius: 8px; padding: 12px 16px }
.tile b { display: block; font-size: 22px; font-weight: 650 } .tile span { color: #566170 }
svg { width: 100%; height: auto; display: block } svg text { font: 12px system-ui, sans-serif }
.grid { stroke: #e8ebef } .axis { stroke: #8a929c } .tick { fill: #566170 }
.label { fill: #1c2430; font-weight: 600 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: 4px 10px 4px 0;
        border-bottom: 1px solid #eef0f3; vertical-align: top } th { color: #566170 }
pre { background: #f6f7f9; border-radius: 6px; padding: 12px; overflow: auto; max-height: 480px;
      font: 12.5px/1.45 ui-monospace, Menlo, Consolas, monospace; margin: 0 }
details { margin-top: 12px } summary { cursor: pointer; color: #2463b0 }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin: 0 4px 0 12px }
"""


def build_page(report: Report) -> str:
    """Give the page's text."""
    run = report.run
    sections = [
        _curve(report),
        _time(report),
        _failures(run.trials),
        _prediction(run.trials),
        _importance(report),
        _roofline(report),
        _winner(report),
    ]
    title = f"Tuning {_task(report)}"
    target = {k: v for k, v in report.target.items() if k not in ("keys", "tag") or v}
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p class='sub'>{escape(', '.join(report.arguments))}<br>"
        f"{escape(json.dumps(target))} · "
        f"{escape(str(run.path))}</p>{_tiles(report)}"
        f"{''.join(s for s in sections if s)}</main></body></html>\n"
    )


def write_page(report: Report, path: Path) -> Path:
    """Write the page; gives its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(build_page(report), encoding="utf-8")
    return path


def _task(report: Report) -> str:
    names = {t.task for t in report.run.trials}
    return f"{', '.join(sorted(names))} ({report.flops / 1e6:.4g} MFLOP)"


def _section(title: str, text: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{text}</p>{body}</section>"


def _tiles(report: Report) -> str:
    run, best = report.run, report.run.best
    failed = sum(run.failures().values())
    elapsed = max((t.elapsed_s or 0.0 for t in run.trials), default=0.0)
    rate = report.flops / best.latency_s / 1e9 if best and best.latency_s else 0.0
    peak = report.hardware.peak_flops if report.hardware else None
    checked = "output checked" if best and best.record in run.verified else "output not checked"
    tiles = [
        (format_seconds(best.latency_s or math.inf) if best else "-", f"best, {checked}"),
        (f"{rate:.1f}", "GFLOP/s"),
        (f"{rate * 1e9 / peak:.0%}" if peak else "-", "of fp32 peak"),
        (str(len(run.trials)), "trials"),
        (str(failed), "failed"),
        (format_seconds(elapsed) if elapsed else "-", "tuning time"),
    ]
    inner = "".join(
        f'<div class="tile"><b>{escape(v)}</b><span>{escape(n)}</span></div>' for v, n in tiles
    )
    return f'<div class="tiles">{inner}</div>'


def _range(values: list[float], margin: float = 1.15) -> tuple[float, float]:
    return min(values) / margin, max(values) * margin


def _curve(report: Report) -> str:
    trials = report.run.trials
    ran = [t for t in trials if t.latency_s is not None]
    if not ran:
        return _section("Tuning curve", "No trial ran.", "")
    latencies = [(t.latency_s or 0.0) * 1e3 for t in ran]
    chart = Chart(
        (0, max(2, len(trials))),
        _range(latencies),
        "trial",
        "latency, ms",
        "Latency of every trial and the best so far",
        log_y=True,
    )
    chart.points(
        [t.index + 1 for t in ran], latencies, BLUE, [_describe(t, report.flops) for t in ran]
    )
    failed = [t for t in trials if t.reason is not None]
    chart.marks(
        [t.index + 1 for t in failed], RED, [f"trial {t.index}: {t.reason}" for t in failed]
    )
    curve = [(i + 1, v * 1e3) for i, v in enumerate(best_so_far(trials)) if math.isfinite(v)]
    chart.steps([x for x, _ in curve], [y for _, y in curve], ORANGE)
    best = report.run.best
    found = f"The best came with trial {best.index + 1}. " if best else ""
    key = (
        f'<span class="key" style="background:{BLUE}"></span>a trial'
        f'<span class="key" style="background:{ORANGE}"></span>best so far'
        f'<span class="key" style="background:{RED}"></span>failed'
    )
    return _section("Tuning curve", f"{found}Hover a dot for its trial. {key}", chart.svg())


def _describe(trial: Trial, flops: float) -> str:
    latency = trial.latency_s or math.inf
    return f"trial {trial.index}: {format_seconds(latency)}, {flops / latency / 1e9:.1f} GFLOP/s"


def _time(report: Report) -> str:
    if not report.stages:
        return ""
    total = sum(report.stages.values())
    rows = [(n, s, f"{s:.1f} s, {s / total:.0%}") for n, s in report.stages.items()]
    text = f"{total:.1f} s in all. “search” is sampling, scoring and materialising candidates."
    return _section("Where time went", text, bars(rows, "Seconds by stage"))


def _failures(trials: tuple[Trial, ...]) -> str:
    counts: dict[str, int] = {}
    examples: dict[str, str] = {}
    for trial in trials:
        if trial.reason is not None:
            counts[trial.reason] = counts.get(trial.reason, 0) + 1
            examples.setdefault(trial.reason, trial.error or "no message recorded")
    if not counts:
        return _section("Failures", "None.", "")
    rows = [(why, n, f"{n} ({n / len(trials):.0%})") for why, n in counts.items()]
    rows.sort(key=lambda row: -row[1])
    table = "".join(
        f"<tr><td>{escape(why)}</td><td><pre>{escape(examples[why][:600])}</pre></td></tr>"
        for why, *_ in rows
    )
    body = bars([(w, float(n), t) for w, n, t in rows], "Failed trials by reason", RED)
    return _section(
        "Failures",
        f"{sum(counts.values())} of {len(trials)} trials failed.",
        f"{body}<details><summary>an example of each</summary><table>{table}</table></details>",
    )


def _prediction(trials: tuple[Trial, ...]) -> str:
    known = [t for t in trials if t.predicted is not None and t.latency_s is not None]
    if len(known) < 5:
        return ""
    scores = [t.predicted or 0.0 for t in known]
    latencies = [(t.latency_s or 0.0) * 1e3 for t in known]
    width = max(scores) - min(scores) or 1.0
    chart = Chart(
        (min(scores) - 0.04 * width, max(scores) + 0.04 * width),
        _range(latencies),
        "score before measuring (higher is better)",
        "measured latency, ms",
        "Predicted score against measured latency",
        log_y=True,
    )
    chart.points(scores, latencies, BLUE, [f"trial {t.index}" for t in known], radius=3)
    rho = rank_correlation(scores, [-x for x in latencies])
    text = (
        f"Rank correlation {rho:.2f} over {len(known)} trials (1 = right order). These are the "
        "trials that the model itself chose, so their spread is small."
    )
    return _section("Predicted and measured", text, chart.svg())


def rank_correlation(left: list[float], right: list[float]) -> float:
    """Spearman's rho; 0 where one side is constant."""
    from scipy.stats import rankdata

    a, b = rankdata(left), rankdata(right)
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0


def _importance(report: Report) -> str:
    shown = report.importance[:12]
    if not shown:
        return ""
    rows = [(i.name, i.share, f"{i.share:.0%}, best {i.best}") for i in shown]
    text = (
        "Share of the spread in log latency that a decision explains by itself, within the program "
        "structure measured most (adjusted R² of a parabola in the logarithm of its value). “best” "
        "is its value in the fastest trial."
    )
    return _section("Which decisions mattered", text, bars(rows, "Importance of decisions"))


def _roofline(report: Report) -> str:
    hardware, best = report.hardware, report.run.best
    if hardware is None or best is None or not best.latency_s or not report.flops:
        return ""
    peak, memory = hardware.peak_flops, hardware.dram_bytes_per_s
    if peak is None or memory is None:
        return ""
    intensity = report.flops / max(report.bytes_moved, 1)
    ridge = peak / memory
    x_low, x_high = min(intensity, ridge) / 8, max(intensity, ridge) * 8
    rates = [report.flops / t.latency_s / 1e9 for t in report.run.trials if t.latency_s is not None]
    floor = min(min(rates), x_low * memory / 1e9) / 1.5
    chart = Chart(
        (x_low, x_high),
        (floor, peak / 1e9 * 2),
        "arithmetic intensity, FLOP per byte of arguments",
        "GFLOP/s",
        "Roofline",
        log_x=True,
        log_y=True,
    )
    chart.line(
        [x_low, ridge, x_high], [x_low * memory / 1e9, peak / 1e9, peak / 1e9], GREY, dash="6 4"
    )
    chart.text(x_high, peak / 1e9, f"peak {peak / 1e9:.0f} GFLOP/s", GREY)
    chart.text(ridge, ridge * memory / 1e9, f"memory {memory / 1e9:.1f} GB/s  ", GREY)
    chart.points([intensity] * len(rates), rates, BLUE)
    rate = report.flops / best.latency_s / 1e9
    chart.points([intensity], [rate], ORANGE, radius=6)
    bound = min(peak, intensity * memory) / 1e9
    text = (
        f"{intensity:.3g} FLOP/byte if every argument moves once: the roof there is {bound:.1f} "
        f"GFLOP/s, and the winner reaches {rate / bound:.0%} of it."
    )
    return _section("Roofline", text, chart.svg())


def _winner(report: Report) -> str:
    if not report.scheduled:
        return ""
    path = report.run.path
    load = (
        "import tvm\nfrom tvm.s_tir import meta_schedule as ms\n\n"
        f"database = ms.database.JSONDatabase(work_dir={str(path)!r})\n"
        "schedule = ms.tir_integration.compile_tir(database, mod, target)  # mod: your PrimFunc\n"
        "kernel = tvm.compile(schedule.mod, target=target)\n"
    )
    trace = "\n".join(report.trace)
    return _section(
        "The winner",
        "Load it with stock TVM, compile, and call it:",
        f"<pre>{escape(load)}</pre>"
        f"<details open><summary>scheduled program</summary>"
        f"<pre>{escape(report.scheduled)}</pre></details>"
        f"<details><summary>schedule</summary><pre>{escape(trace)}</pre></details>"
        f"<details><summary>unscheduled program</summary>"
        f"<pre>{escape(report.unscheduled)}</pre></details>",
    )
