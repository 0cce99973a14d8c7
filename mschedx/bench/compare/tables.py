"""A comparison as tables of text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cell import CellResult
from .statistics import Interval, best_curve, first_reach, geomean_speedup, reach

_SHARES = (0.9, 0.95, 0.99, 1.0)
Final = dict[str, dict[str, float]]


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


def final_latencies(final: Final, tuner: str) -> dict[str, np.ndarray]:
    """Re-timed latencies of a tuner by workload, seconds [seeds]; inf for one without a winner."""
    return {
        workload: np.array([s for name, s in seconds.items() if name.split("/")[0] == tuner])
        for workload, seconds in final.items()
    }


def median_ratios(final: Final, tuner: str, reference: str) -> dict[str, float]:
    """The reference's latency / a tuner's by workload, medians over the seeds.

    0 where most seeds of the tuner have no winner; without workloads where the reference has none.
    """
    own, base = final_latencies(final, tuner), final_latencies(final, reference)
    return {
        workload: float(np.median(base[workload]) / np.median(own[workload]))
        for workload in final
        if len(own[workload]) and len(base[workload]) and _median_is_finite(base[workload])
    }


def speedups(final: Final, tuners: Sequence[str], reference: str) -> dict[str, Interval]:
    """Geometric mean speed-ups over `reference`, with their intervals."""
    base = final_latencies(final, reference)
    return {
        tuner: geomean_speedup(base, final_latencies(final, tuner), np.random.default_rng(0))
        for tuner in tuners
    }


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
            found = len(ms) and _median_is_finite(ms)
            cells.append(f"{np.median(ms):.4g} ({ms.min():.4g} - {ms.max():.4g})" if found else "-")
        table.add_row(workload, *cells)
    return table


def shared_trials(results: Sequence[CellResult]) -> int:
    """Trials that all runs were given: the reference may have had more (`Comparison`)."""
    return min((result.trials for result in results), default=1)


def moments(trials: int) -> list[int]:
    """Numbers of trials at which curves are compared: a quarter, half, and all."""
    return sorted({max(1, trials // 4), max(1, trials // 2), trials})


def curve_speedups(
    results: Sequence[CellResult], tuners: Sequence[str], reference: str, moments: Sequence[int]
) -> dict[str, list[Interval]]:
    """Speed-ups over `reference` when both have had so many trials, geometric means.

    Latencies are those the runs themselves measured, not timed in turn.
    """
    bests = {
        tuner: [_bests_after([r for r in results if r.tuner == tuner], m) for m in moments]
        for tuner in tuners
    }
    return {
        tuner: [
            geomean_speedup(base, own, np.random.default_rng(0))
            for base, own in zip(bests[reference], bests[tuner])
        ]
        for tuner in tuners
    }


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


def wall_moments(results: Sequence[CellResult]) -> list[float]:
    """Seconds at which curves are compared: the tuners' median times for all their trials.

    Rounded up to tenths: what a tuner finds in its last round is known by then.
    """
    spent: dict[str, list[float]] = {}
    for result in results:
        if result.elapsed_s:
            spent.setdefault(result.tuner, []).append(result.elapsed_s[-1])
    return sorted({math.ceil(10 * statistics.median(times)) / 10 for times in spent.values()})


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
        (name, moment): _bests_within([r for r in results if r.tuner == name], moment)
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
                _median_is_finite(base[w]) and _median_is_finite(own[w]) for w in base if w in own
            )
            interval = geomean_speedup(base, own, np.random.default_rng(0))
            cells.append(f"{interval.text} ({both})")
        table.add_row(tuner, *cells)
    return table


def _median_is_finite(latencies: np.ndarray) -> bool:
    return bool(np.isfinite(np.median(latencies)))


def _by_workload(
    results: Iterable[CellResult], number: Callable[[CellResult], float]
) -> dict[str, np.ndarray]:
    """A number of each result, by workload: float64 [seeds]."""
    found: dict[str, list[float]] = {}
    for result in results:
        found.setdefault(result.workload, []).append(number(result))
    return {workload: np.array(numbers) for workload, numbers in found.items()}


def _bests_within(results: Sequence[CellResult], seconds: float) -> dict[str, np.ndarray]:
    """Best latency known after `seconds` by workload, seconds [seeds]; inf where there is none."""

    def best(result: CellResult) -> float:
        known = zip(result.latency_s, result.elapsed_s)
        return min((s for s, at in known if s and at <= seconds), default=math.inf)

    return _by_workload(results, best)


def _bests_after(results: Sequence[CellResult], trials: int) -> dict[str, np.ndarray]:
    """Best latency after `trials` trials by workload, seconds [seeds]; inf where none had run."""
    most = max(trials, 1)
    return _by_workload(results, lambda one: float(best_curve(one.latency_s, most)[-1]))


def reach_table(results: Sequence[CellResult], tuners: Sequence[str], reference: str) -> Any:
    """Trials and seconds until a tuner is as good as the reference is at the end."""
    table = _table(
        f"Median trials / seconds to a share of {reference}'s best (runs that get there)"
    )
    table.add_column("tuner")
    for share in _SHARES:
        table.add_column(f"{share:.0%}", justify="right")
    goals = _goals(results, reference)
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
    goals = _goals(results, reference)
    seconds = {name: _seconds_to(goals, results, name) for name in {reference, *tuners}}
    ended = [r for r in results if r.tuner == reference and r.elapsed_s]
    whole = _by_workload(ended, lambda one: one.elapsed_s[-1])
    for tuner in tuners:
        own = seconds[tuner]
        there = sum(map(_median_is_finite, own.values()))
        ratios = [geomean_speedup(base, own, np.random.default_rng(0))
                  for base in (seconds[reference], whole)]  # fmt: skip
        means = (ratio.text for ratio in ratios)
        table.add_row(tuner, *means, f"{there} of {len(own)} workloads")
    return table


def _seconds_to(
    goals: dict[str, float], results: Sequence[CellResult], tuner: str
) -> dict[str, np.ndarray]:
    """Seconds [seeds] until a goal is reached, by workload; inf where it never is."""

    def reached_at(result: CellResult) -> float:
        trial = first_reach(best_curve(result.latency_s, result.trials), goals[result.workload])
        return math.inf if trial is None else result.elapsed_s[trial - 1]

    own = [r for r in results if r.tuner == tuner and r.workload in goals]
    return _by_workload(own, reached_at)


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


def _goals(results: Sequence[CellResult], reference: str) -> dict[str, float]:
    """The reference's median best latency by workload, seconds.

    Of an even number of seeds the slower of the middle two, which more than half of them reach.
    """
    own = [r for r in results if r.tuner == reference]
    bests = _by_workload(own, lambda one: float(best_curve(one.latency_s, one.trials)[-1]))
    goals = {workload: statistics.median_high(found) for workload, found in bests.items()}
    return {workload: float(goal) for workload, goal in goals.items() if math.isfinite(goal)}


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
