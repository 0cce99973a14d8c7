"""The figures of a comparison: best-so-far curves with bands over the seeds, and speed-ups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mschedx.report.charts import PALETTE, Bars, Chart, Figure, padded

from .cell import CellResult
from .statistics import best_curve
from .summaries import Final, median_ratios


def curve_figures(results: Sequence[CellResult], tuners: Sequence[str]) -> list[Figure]:
    """One figure a workload: median over the seeds of the best so far, the band being all seeds."""
    names = dict.fromkeys(result.workload for result in results)
    figures = [_curves([r for r in results if r.workload == name], name, tuners) for name in names]
    return [figure for figure in figures if figure is not None]


def _curves(results: Sequence[CellResult], workload: str, tuners: Sequence[str]) -> Figure | None:
    trials = max(result.trials for result in results)
    curves = {
        tuner: np.array([best_curve(r.latency_s, trials) for r in results if r.tuner == tuner])
        for tuner in tuners
    }
    finite = [1e3 * c[np.isfinite(c)] for c in curves.values() if c.size]
    seen = np.concatenate(finite) if finite else np.empty(0)
    if not len(seen):
        return None
    # What the first trials of an unlucky seed were would flatten all that matters.
    top = max(float(np.quantile(seen, 0.97)), 1.5 * float(seen.min()))
    chart = Chart(
        (1, max(2, trials)),
        (padded([float(seen.min())], 1.05)[0], top * 1.05),
        "trial",
        "best latency so far, ms",
        f"Best latency of {workload} after each trial",
        log_y=True,
        width=560,
        height=330,
    )
    for tuner in tuners:
        color = _color(tuner, tuners)
        runs = 1e3 * curves[tuner]
        if not runs.size:
            continue
        shown = np.clip(runs, None, chart.y_range[1])
        started = np.isfinite(runs).any(axis=0)
        xs = (np.flatnonzero(started) + 1).tolist()
        shown = shown[:, started]
        chart.band(xs, shown.min(axis=0).tolist(), shown.max(axis=0).tolist(), color)
        chart.steps(xs, np.median(shown, axis=0).tolist(), color)
        chart.key(tuner, color)
    return Figure(f"curve-{workload}", workload, "", chart)


def speedup_figure(final: Final, tuner: str, reference: str, tuners: Sequence[str]) -> Figure:
    """Speed-up of one of the tuners over the reference on every workload, largest first."""
    ratios = {w: ratio for w, ratio in median_ratios(final, tuner, reference).items() if ratio}
    rows = [(w, ratio, f"{ratio:.2f}×") for w, ratio in sorted(ratios.items(), key=lambda i: -i[1])]
    return Figure(
        f"speedup-{tuner}",
        f"{tuner} against {reference}",
        f"{reference}'s latency divided by {tuner}'s, medians over the seeds, winners timed in "
        "turn. Above 1, it is faster.",
        Bars(rows, f"Speed-up of {tuner} over {reference}", _color(tuner, tuners)),
    )


def _color(tuner: str, tuners: Sequence[str]) -> str:
    """One for each tuner, the same in every figure."""
    return PALETTE[tuners.index(tuner) % len(PALETTE)]
