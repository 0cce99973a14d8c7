"""The trials of a run as a table that can be sorted by a click."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from mschedx.record.trials import Trial

from .analysis import Report
from .decisions import decision_values
from .html import section, sortable_table

MOST_ROWS = 1000
"""Trials that a page lists: the fastest, then failed ones."""

_TILE = re.compile(r"(.*) tile (\d+)")


def trials_section(report: Report) -> str:
    """List trials with latency, rate, time and decisions."""
    trials = report.run.trials
    order = sorted(trials, key=lambda trial: (trial.latency_s or math.inf, trial.index))
    shown = order[:MOST_ROWS]
    rows = [_row(trial, report) for trial in shown]
    left = (
        f" The {MOST_ROWS} fastest of {len(trials)} are listed." if len(order) > MOST_ROWS else ""
    )
    head = ("trial", "round", "after, s", "latency, ms", "GFLOP/s", "failure", "decisions")
    body = f"<details><summary>{len(shown)} trials</summary>{sortable_table(head, rows)}</details>"
    return section("Trials", f"Click a heading to sort by it.{left}", body)


def _row(trial: Trial, report: Report) -> Sequence[str]:
    seconds = trial.latency_s
    record = report.run.records.get(trial.record)
    decisions = {} if record is None else decision_values(record[0])
    return (
        str(trial.index),
        str(trial.round) if trial.round >= 0 else "",
        "" if trial.elapsed_s is None else f"{trial.elapsed_s:.1f}",
        "" if seconds is None else f"{seconds * 1e3:.4g}",
        "" if seconds is None else f"{report.flops / seconds / 1e9:.1f}",
        trial.reason or "",
        "the function as it is" if trial.unscheduled else config_text(decisions),
    )


def config_text(decisions: Mapping[str, int]) -> str:
    """Write decisions on a line, the factors of a tile together: ``C axis 0: 4·8·2``."""
    tiles: dict[str, list[str]] = {}
    for name, value in decisions.items():
        match = _TILE.fullmatch(name)
        tiles.setdefault(match[1] if match else name, []).append(str(value))
    return ", ".join(f"{name}: {'·'.join(values)}" for name, values in tiles.items())
