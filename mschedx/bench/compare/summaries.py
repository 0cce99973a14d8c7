"""The numbers of a comparison: latencies, ratios and moments, which tables and figures show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .cell import CellResult
from .statistics import Interval, best_curve, first_reach, geomean_speedup

Final = dict[str, dict[str, float]]
"""Seconds of the winners, timed in turn, by workload and by "tuner/seed" or another contender."""


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
        if len(own[workload]) and len(base[workload]) and median_is_finite(base[workload])
    }


def speedups(final: Final, tuners: Sequence[str], reference: str) -> dict[str, Interval]:
    """Geometric mean speed-ups over `reference`, with their intervals."""
    base = final_latencies(final, reference)
    return {tuner: geomean_speedup(base, final_latencies(final, tuner)) for tuner in tuners}


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
        tuner: [bests_after([r for r in results if r.tuner == tuner], m) for m in moments]
        for tuner in tuners
    }
    return {
        tuner: [geomean_speedup(base, own) for base, own in zip(bests[reference], bests[tuner])]
        for tuner in tuners
    }


def wall_moments(results: Sequence[CellResult]) -> list[float]:
    """Seconds at which curves are compared: the tuners' median times for all their trials.

    Rounded up to tenths: what a tuner finds in its last round is known by then.
    """
    spent: dict[str, list[float]] = {}
    for result in results:
        if result.elapsed_s:
            spent.setdefault(result.tuner, []).append(result.elapsed_s[-1])
    return sorted({math.ceil(10 * statistics.median(times)) / 10 for times in spent.values()})


def bests_after(results: Sequence[CellResult], trials: int) -> dict[str, np.ndarray]:
    """Best latency after `trials` trials by workload, seconds [seeds]; inf where none had run."""
    most = max(trials, 1)
    return by_workload(results, lambda one: float(best_curve(one.latency_s, most)[-1]))


def bests_within(results: Sequence[CellResult], seconds: float) -> dict[str, np.ndarray]:
    """Best latency known after `seconds` by workload, seconds [seeds]; inf where there is none."""

    def best(result: CellResult) -> float:
        known = zip(result.latency_s, result.elapsed_s)
        return min((s for s, at in known if s and at <= seconds), default=math.inf)

    return by_workload(results, best)


def goal_latencies(results: Sequence[CellResult], reference: str) -> dict[str, float]:
    """The reference's median best latency by workload, seconds.

    Of an even number of seeds the slower of the middle two, which more than half of them reach.
    """
    own = [r for r in results if r.tuner == reference]
    bests = by_workload(own, lambda one: float(best_curve(one.latency_s, one.trials)[-1]))
    goals = {workload: statistics.median_high(found) for workload, found in bests.items()}
    return {workload: float(goal) for workload, goal in goals.items() if math.isfinite(goal)}


def seconds_to(
    goals: dict[str, float], results: Sequence[CellResult], tuner: str
) -> dict[str, np.ndarray]:
    """Seconds [seeds] until a goal is reached, by workload; inf where it never is."""

    def reached_at(result: CellResult) -> float:
        trial = first_reach(best_curve(result.latency_s, result.trials), goals[result.workload])
        return math.inf if trial is None else result.elapsed_s[trial - 1]

    own = [r for r in results if r.tuner == tuner and r.workload in goals]
    return by_workload(own, reached_at)


def by_workload(
    results: Iterable[CellResult], number: Callable[[CellResult], float]
) -> dict[str, np.ndarray]:
    """A number of each result, by workload: float64 [seeds]."""
    found: dict[str, list[float]] = {}
    for result in results:
        found.setdefault(result.workload, []).append(number(result))
    return {workload: np.array(numbers) for workload, numbers in found.items()}


def median_is_finite(latencies: np.ndarray) -> bool:
    """Whether most seeds of latencies [seeds] have one."""
    return bool(np.isfinite(np.median(latencies)))
