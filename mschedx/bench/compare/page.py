"""One self-contained HTML page of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from mschedx.report.charts import Figure
from mschedx.report.html import document, figure_section, section, table, tiles
from mschedx.report.svg import draw

from . import summaries, tables
from .cell import CellResult
from .figures import curve_figures, speedup_figure
from .tables import ComparisonResult


def build_page(compared: ComparisonResult) -> str:
    """Give the page's text."""
    results, tuners, reference = compared.results, compared.tuners, compared.reference
    seeds = len({result.seed for result in results})
    trials = summaries.shared_trials(results)
    most = max((result.trials for result in results), default=trials)
    longer = f" ({most} of {escape(reference)})" if most > trials else ""
    workloads = len({result.workload for result in results})
    under = (
        f"{workloads} workloads × {len(tuners)} tuners × {seeds} seeds, "
        f"{trials} trials each{longer}; ratios are over {escape(reference)}"
    )
    speedups = summaries.speedups(compared.final, tuners, reference)
    shown = [
        (f"{interval.value:.2f}×", f"{tuner} {interval.bounds}{interval.share}")
        for tuner, interval in speedups.items()
        if tuner != reference and math.isfinite(interval.value)
    ]
    first, *others = map(_table, tables.all_tables(compared))
    parts = [
        first,
        _curves(curve_figures(results, tuners)),
        *map(figure_section, _bars(compared)),
        *others,
        _failed(results),
    ]
    return document("Tuners compared", under, tiles(shown) + "".join(parts))


def figures(compared: ComparisonResult) -> list[Figure]:
    """All charts of the page."""
    return [*curve_figures(compared.results, compared.tuners), *_bars(compared)]


def _bars(compared: ComparisonResult) -> list[Figure]:
    final, tuners, reference = compared.final, compared.tuners, compared.reference
    others = [tuner for tuner in tuners if tuner != reference]
    return [speedup_figure(final, tuner, reference, tuners) for tuner in others]


def _curves(found: Sequence[Figure]) -> str:
    inner = "".join(
        f"<div><h3>{escape(figure.title)}</h3>{draw(figure.chart)}</div>"
        for figure in found
        if figure.chart is not None
    )
    return section(
        "Best so far",
        "Median over the seeds of the best latency after each trial; the bands hold all seeds. "
        "Latencies are those the runs measured themselves.",
        f'<div class="small">{inner}</div>',
    )


def _table(made: Any) -> str:
    """Turn a console table into HTML."""
    head = [str(column.header) for column in made.columns]
    rows = zip(*([str(cell) for cell in column.cells] for column in made.columns))
    return section(str(made.title), "", table(head, [list(row) for row in rows]))


def _failed(results: Sequence[CellResult]) -> str:
    rows = [[result.key, result.error] for result in results if result.error]
    return section("Runs that failed", "", table(["run", "last words"], rows)) if rows else ""
