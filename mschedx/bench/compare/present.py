"""A finished comparison, shown: tables on the console, a page, and PNGs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mschedx.record.lines import write_atomic

from . import tables
from .cell import CellResult


def console() -> Any:
    """A console as wide as the terminal, or 160 columns where output goes to a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def all_tables(
    results: Sequence[CellResult], final: tables.Final, tuners: Sequence[str], reference: str
) -> list[Any]:
    """Every table of a comparison, most important first."""
    moments = tables.moments(max((result.trials for result in results), default=1))
    return [
        tables.rate_table(final, tuners),
        tables.speedup_table(final, tuners, reference),
        tables.curve_table(results, tuners, reference, moments),
        tables.wall_table(results, tuners, reference),
        tables.reach_table(results, tuners, reference),
        tables.goal_table(results, tuners, reference),
        tables.stage_table(results, tuners),
    ]


def write_comparison(
    results: Sequence[CellResult],
    final: tables.Final,
    tuners: Sequence[str],
    reference: str,
    path: Path,
    *,
    png: bool = False,
) -> list[Path]:
    """Write the page of a comparison, and its charts beside it as PNGs; gives the paths."""
    from mschedx.report.png import write_pngs

    from .page import build_page, figures

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, build_page(results, final, tuners, reference))
    if not png:
        return [path]
    found = figures(results, final, tuners, reference)
    return [path, *write_pngs(found, path.parent, path.stem)]


def read_comparison(path: Path) -> tuple[list[CellResult], tables.Final, list[str]]:
    """Read what a comparison left in its folder: results, timed winners, names of tuners."""
    from mschedx.record.lines import read_lines

    from .harness import FINAL, read_results

    results = read_results(path)
    lines = [line.content for line in read_lines(path / FINAL) if line.content]
    final = {entry["workload"]: entry["seconds"] for entry in lines}
    return results, final, list(dict.fromkeys(result.tuner for result in results))
