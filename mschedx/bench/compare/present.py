"""A finished comparison, shown: tables on the console, a page, and PNGs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mschedx.files import write_atomic
from mschedx.record.lines import parse

from ..console import table_console
from .cell import CellResult
from .harness import ASKED, read_results, read_timed, timed_seconds
from .tables import ComparisonResult


def console() -> Any:
    """A console as wide as the terminal, or 160 columns where output goes to a file."""
    return table_console(160)


def write_comparison(compared: ComparisonResult, path: Path, *, png: bool = False) -> list[Path]:
    """Write the page of a comparison, and its charts beside it as PNGs; gives the paths."""
    from mschedx.report.png import write_pngs

    from .page import build_page, figures

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, build_page(compared))
    if not png:
        return [path]
    return [path, *write_pngs(figures(compared), path.parent, path.stem)]


def read_comparison(path: Path, say: Callable[[str], None] = lambda text: None) -> ComparisonResult:
    """Read the folder of a comparison; says what it leaves out.

    Without a ``comparison.json`` of this version these are the runs of as many trials as the last
    one, and the reference is the tuner that comes up last.

    Raises
    ------
    ValueError
        If it has no results.
    """
    found = {result.key: result for result in read_results(path, say)}
    if not found:
        raise ValueError(f"{path} has no results yet")
    timed = read_timed(path)
    asked = parse((path / ASKED).read_bytes()) if (path / ASKED).exists() else None
    if not isinstance(asked, dict) or not {"tuners", "reference", "cells"} <= asked.keys():
        trials = list(found.values())[-1].trials
        results = [result for result in found.values() if result.trials == trials]
        final = {workload: timed_seconds(line) for workload, line in timed.items()}
        tuners = list(dict.fromkeys(result.tuner for result in results))
        return ComparisonResult(results, final, tuners, tuners[-1])
    results = [found[key] for key in asked["cells"] if key in found]
    if not results:
        raise ValueError(f"{path} has no results yet of what was compared last")
    final = {
        workload: _of_runs(timed[workload], [r for r in results if r.workload == workload])
        for workload in dict.fromkeys(result.workload for result in results)
        if workload in timed
    }
    kept = {workload: seconds for workload, seconds in final.items() if seconds}
    return ComparisonResult(results, kept, asked["tuners"], asked["reference"])


def _of_runs(line: dict[str, Any], results: Sequence[CellResult]) -> dict[str, float]:
    """The seconds of a line of timed winners that are of these runs; empty if none is."""
    own = {result.name: result.run for result in results}
    timed = line["runs"] if isinstance(line["runs"], dict) else {}
    names = {name for name, run in timed.items() if own.get(name) == run}
    others = line["seconds"].keys() - timed.keys()
    return {n: s for n, s in timed_seconds(line).items() if n in names | others} if names else {}
