"""A comparison as tables of text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cell import CellResult
from .statistics import best_curve, geomean_speedup, reach
from .summaries import (
    Final,
    bests_within,
    by_workload,
    curve_speedups,
    final_latencies,
    goal_latencies,
    median_is_finite,
    median_ratios,
    moments,
    seconds_to,
    shared_trials,
    speedups,
    wall_moments,
)

_SHARES = (0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """What a comparison found, as tables and figures show it.

    Attributes
    ----------
    results : list of CellResult
        In the order in which they were asked for.
    final : dict
        Winners of these results, timed in turn
        (:func:`mschedx.bench.compare.harness.time_winners`).
    tuners : list of str
        Names, in the order of the legend.
    reference : str
        The tuner that ratios are over.
    """

    results: list[CellResult]
    final: Final
    tuners: list[str]
    reference: str


def all_tables(compared: ComparisonResult) -> list[Any]:
    """Every table of a comparison, most important first."""
    results, final = compared.results, compared.final
    tuners, reference = compared.tuners, compared.reference
    return [
        rate_table(final, tuners),
        speedup_table(final, tuners, reference),
        curve_table(results, tuners, reference, moments(shared_trials(results))),
        wall_table(results, tuners, reference),
        reach_table(results, tuners, reference),
        goal_table(results, tuners, reference),
        stage_table(results, tuners),
    ]


def rate_table(final: Final, tuners: Sequence[str]) -> Any:
    """GFLOP/s of every workload: median over seeds of each tuner, NumPy, torch; share of peak."""
    table = _table("GFLOP/s of the winners, timed in turn (median over seeds)")
    for name in ("workload", *tuners, "NumPy", "torch", "peak"):
        table.add_column(name, justify="left" if name == "workload" else "right")
    for workload, seconds in final.items():
        cells = []
        for column in (*tuners, "NumPy", "torch"):
            found = [s for name, s in seconds.items() if name.split("/")[0] == column]
            rate = seconds["flops"] / statistics.median(found) / 1e9 if found else 0.0
            cells.append(f"{rate:.1f}" if rate else "-")
        table.add_row(workload, *cells, f"{seconds['peak'] / 1e9:.0f}")
    return table


def speedup_table(final: Final, tuners: Sequence[str], reference: str) -> Any:
    """Geometric mean speed-up of each tuner, and its worst workload.

    The mean is of workloads where most seeds of both have a winner; it says so if not all are.
    """
    seeds = {name.split("/")[1] for seconds in final.values() for name in seconds if "/" in name}
    interval = _interval(len(final), len(seeds))
    table = _table(f"Speed-up over {reference}, geometric mean {interval}")
    for name in ("tuner", "speed-up", "worst workload"):
        table.add_column(name)
    for tuner, interval in speedups(final, tuners, reference).items():
        ratios = median_ratios(final, tuner, reference)
        worst = min(ratios, key=lambda w: ratios[w], default=None)
        said = "-" if worst is None else f"{worst} {ratios[worst]:.2f}"
        if worst is not None and not ratios[worst]:
            said = f"{worst} (no winner)"
        table.add_row(tuner, str(interval), said)
    return table


def latency_table(final: Final, tuners: Sequence[str]) -> Any:
    """Latencies of the winners, timed in turn: the median of the seeds, and their range.

    A seed without a winner is inf.
    """
    table = _table("Milliseconds of the winners, timed in turn: median (best - worst seed)")
    for name in ("workload", *tuners):
        table.add_column(name, justify="left" if name == "workload" else "right")
    latencies = {tuner: final_latencies(final, tuner) for tuner in tuners}
    for workload in final:
        cells = []
        for tuner in tuners:
            ms = 1e3 * latencies[tuner][workload]
            found = len(ms) and median_is_finite(ms)
            cells.append(f"{np.median(ms):.4g} ({ms.min():.4g} - {ms.max():.4g})" if found else "-")
        table.add_row(workload, *cells)
    return table


def curve_table(
    results: Sequence[CellResult], tuners: Sequence[str], reference: str, moments: Sequence[int]
) -> Any:
    """Show :func:`curve_speedups`."""
    table = _table(
        f"Best so far at equal trials: {reference}'s latency / the tuner's {_interval_of(results)}"
    )
    table.add_column("tuner")
    for moment in moments:
        table.add_column(f"{moment} trials", justify="right")
    for tuner, intervals in curve_speedups(results, tuners, reference, moments).items():
        table.add_row(tuner, *(str(interval) for interval in intervals))
    return table


def wall_table(results: Sequence[CellResult], tuners: Sequence[str], reference: str) -> Any:
    """Speed-ups over `reference` when both have had so many seconds, geometric means.

    A tuner that has done all its trials keeps what it found. Workloads where either has no
    latency yet are left out; how many are compared stands beside each mean.
    """
    table = _table(
        f"Best so far at equal wall time: {reference}'s latency / the tuner's "
        f"{_interval_of(results)} (workloads where both have one)"
    )
    table.add_column("tuner")
    seconds = wall_moments(results)
    bests: dict[tuple[str, float], dict[str, np.ndarray]] = {
        (name, moment): bests_within([r for r in results if r.tuner == name], moment)
        for name in {reference, *tuners}
        for moment in seconds
    }
    for moment in seconds:
        table.add_column(f"{moment:g} s", justify="right")
    for tuner in tuners:
        cells = []
        for moment in seconds:
            base, own = bests[reference, moment], bests[tuner, moment]
            both = sum(
                median_is_finite(base[w]) and median_is_finite(own[w]) for w in base if w in own
            )
            interval = geomean_speedup(base, own)
            cells.append(f"{interval.text} ({both})")
        table.add_row(tuner, *cells)
    return table


def reach_table(results: Sequence[CellResult], tuners: Sequence[str], reference: str) -> Any:
    """Trials and seconds until a tuner is as good as the reference is at the end."""
    table = _table(
        f"Median trials / seconds to a share of {reference}'s best (runs that get there)"
    )
    table.add_column("tuner")
    for share in _SHARES:
        table.add_column(f"{share:.0%}", justify="right")
    goals = goal_latencies(results, reference)
    for tuner in tuners:
        own = [r for r in results if r.tuner == tuner and r.workload in goals]
        cells = []
        for share in _SHARES:
            found = reach(
                [best_curve(r.latency_s, r.trials) for r in own],
                [r.elapsed_s for r in own],
                [goals[r.workload] for r in own],
                share,
            )
            trials = "-" if found.trials is None else f"{found.trials:.0f}"
            seconds = "-" if found.seconds is None else f"{found.seconds:.1f} s"
            cells.append(f"{trials} / {seconds} ({found.reached:.0%})")
        table.add_row(tuner, *cells)
    return table


def goal_table(results: Sequence[CellResult], tuners: Sequence[str], reference: str) -> Any:
    """How many times sooner a tuner is as good as the reference is at the end.

    Ratios of wall seconds since the process started, median over seeds, geometric mean over the
    workloads where the tuner gets there; the reference's seconds are until its own best ("to its
    best"), or until all its trials are done ("to its end").
    """
    table = _table(
        f"Wall time of {reference} / wall time to {reference}'s best {_interval_of(results)}"
    )
    for name in ("tuner", "to its best", "to its end", "gets there"):
        table.add_column(name, justify="left" if name == "tuner" else "right")
    goals = goal_latencies(results, reference)
    seconds = {name: seconds_to(goals, results, name) for name in {reference, *tuners}}
    ended = [r for r in results if r.tuner == reference and r.elapsed_s]
    whole = by_workload(ended, lambda one: one.elapsed_s[-1])
    for tuner in tuners:
        own = seconds[tuner]
        there = sum(map(median_is_finite, own.values()))
        ratios = [geomean_speedup(base, own) for base in (seconds[reference], whole)]
        means = (ratio.text for ratio in ratios)
        table.add_row(tuner, *means, f"{there} of {len(own)} workloads")
    return table


def stage_table(results: Sequence[CellResult], tuners: Sequence[str]) -> Any:
    """Seconds of a run by stage, and of the whole process: means over the runs.

    A tuner whose runs have no profile, as TVM's stock pipeline, has no stages, and one of which
    no run has a stage none of that name.
    """
    table = _table("Seconds of a run (means)")
    stages = ("search", "draft", "lower", "predict", "train", "build", "run", "record")
    for name in ("tuner", *stages, "process", "failed trials"):
        table.add_column(name, justify="left" if name == "tuner" else "right")
    for tuner in tuners:
        own = [r for r in results if r.tuner == tuner]
        if not own:
            continue
        profiles = [r.stages for r in own if r.stages]
        cells = [
            f"{statistics.mean(p.get(s, 0.0) for p in profiles):.1f}"
            if any(s in profile for profile in profiles)
            else "-"
            for s in stages
        ]
        failed = sum(sum(r.failures.values()) for r in own)
        trials = sum(len(r.latency_s) for r in own)
        wall = statistics.mean(r.wall_s for r in own)
        table.add_row(tuner, *cells, f"{wall:.1f}", f"{failed} of {trials}")
    return table


def replay_table(curves: dict[str, np.ndarray], best_s: float, recorded: int) -> Any:
    """Quality of searches on recorded trials: median over seeds at a quarter, half and the end.

    Parameters
    ----------
    curves : dict[str, float64 array [seeds, trials]]
        Best latency after each trial, seconds.
    best_s : float
        Best recorded latency, seconds; quality is this divided by what was found.
    recorded : int
        Number of records behind the landscape.
    """
    table = _table(f"Best recorded latency / best found, median over seeds; {recorded} records")
    trials = next(iter(curves.values())).shape[1]
    shown = moments(trials)
    table.add_column("search")
    for moment in shown:
        table.add_column(f"{moment} trials", justify="right")
    table.add_column("worst seed", justify="right")
    for name, found in curves.items():
        cells = [f"{best_s / float(np.median(found[:, m - 1])):.1%}" for m in shown]
        table.add_row(name, *cells, f"{best_s / float(found[:, -1].max()):.1%}")
    return table


def _interval_of(results: Sequence[CellResult]) -> str:
    """`_interval` of a comparison's runs."""
    return _interval(len({r.workload for r in results}), len({r.seed for r in results}))


def _interval(workloads: int, seeds: int) -> str:
    """What the head of a table says of its intervals: over what there are several of."""
    counts = {"workloads": workloads, "seeds": seeds}
    over = " and ".join(name for name, count in counts.items() if count > 1)
    return f"[95 % interval over {over}]" if over else "[95 % interval]"


def _table(title: str) -> Any:
    from rich import box
    from rich.table import Table

    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
