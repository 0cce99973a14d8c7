"""What a comparison says: mean speed-ups with bootstrap intervals, and times to a quality.

Symbols: ``best[w, s, t]`` is the best latency (seconds) of a tuner on workload w with seed s after
trial t; a speed-up is the reference's latency divided by the tuner's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

FloatArray = np.ndarray


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over workloads with its 95 % bootstrap interval.

    Attributes
    ----------
    value : float
        nan where there is none.
    low, high : float
        nan where there is no mean, or it is that of one workload and one seed: a pair of runs
        tells nothing of others.
    count, of : int
        Workloads in the mean, and how many there are.
    """

    value: float
    low: float
    high: float
    count: int
    of: int

    def __str__(self) -> str:
        return self.text + self.share

    @property
    def text(self) -> str:
        """The mean and its interval."""
        return "-" if math.isnan(self.value) else f"{self.value:.2f} {self.bounds}"

    @property
    def bounds(self) -> str:
        """The interval."""
        return "[one run]" if math.isnan(self.low) else f"[{self.low:.2f}, {self.high:.2f}]"

    @property
    def share(self) -> str:
        """Of how many workloads the mean is, where that is not all."""
        return "" if self.count in (0, self.of) else f" ({self.count} of {self.of})"


def with_failed(seconds: dict[str, float], runs: Iterable[str]) -> dict[str, float]:
    """Seconds of the winners by run; inf for runs that have none."""
    return {**dict.fromkeys(runs, math.inf), **seconds}


def best_curve(latency_s: Sequence[float | None], trials: int) -> FloatArray:
    """Running minimum after each of `trials` trials, seconds [trials]; inf until one has run.

    A run that ended early keeps its last value.
    """
    filled = [np.inf if s is None else float(s) for s in latency_s][:trials]
    filled += [np.inf] * (trials - len(filled))
    return np.minimum.accumulate(np.array(filled, dtype=np.float64))


def geomean_speedup(
    reference: dict[str, FloatArray],
    tuner: dict[str, FloatArray],
    rng: np.random.Generator | None = None,
    draws: int = 2000,
) -> Interval:
    """Geometric mean over workloads of (reference's / tuner's median latency over seeds).

    The interval resamples workloads, and seeds within each: what another suite with other seeds
    might have given. There is none of one workload with one seed.

    Parameters
    ----------
    reference, tuner : dict[str, float64 array [seeds]]
        Final latencies by workload, seconds, > 0, inf for a seed that has none. Workloads are
        left out that either lacks, or of which its median is inf.
    rng : numpy.random.Generator, optional
        What draws; when None, the same latencies give the same interval.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    of = len(reference.keys() | tuner.keys())
    names = [n for n in reference if n in tuner and len(reference[n]) and len(tuner[n])]
    names = [
        n
        for n in names
        if np.isfinite(np.median(reference[n])) and np.isfinite(np.median(tuner[n]))
    ]
    if not names:
        return Interval(np.nan, np.nan, np.nan, 0, of)
    value = np.mean([_log_ratio(reference[n], tuner[n]) for n in names])
    if len(names) == 1 and len(reference[names[0]]) == len(tuner[names[0]]) == 1:
        return Interval(float(np.exp(value)), np.nan, np.nan, 1, of)
    sampled = np.empty(draws)
    with np.errstate(invalid="ignore"):  # seeds without a latency may be drawn on both sides
        for draw in range(draws):
            chosen = rng.integers(len(names), size=len(names))
            sampled[draw] = np.mean(
                [_log_ratio(_resample(reference[names[i]], rng), _resample(tuner[names[i]], rng))
                 for i in chosen]
            )  # fmt: skip
    known = sampled[~np.isnan(sampled)]
    # Observed values, not values between two: draws without a latency are infinite.
    low, high = np.percentile(known, [2.5, 97.5], method="inverted_cdf")
    bounds = float(np.exp(low)), float(np.exp(high))
    return Interval(float(np.exp(value)), *bounds, len(names), of)


def _resample(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    return values[rng.integers(len(values), size=len(values))]


def _log_ratio(reference: FloatArray, tuner: FloatArray) -> float:
    return float(np.log(np.median(reference)) - np.log(np.median(tuner)))


def first_reach(curve: FloatArray, goal_s: float) -> int | None:
    """Number of trials after which `curve` is at or below `goal_s`; None if it never is."""
    reached = np.flatnonzero(curve <= goal_s)
    return int(reached[0]) + 1 if len(reached) else None


@dataclass(frozen=True, slots=True)
class Reach:
    """Trials and seconds to a share of the reference's quality, medians over the runs."""

    share: float
    trials: float | None
    seconds: float | None
    reached: float


def reach(
    curves: Sequence[FloatArray],
    elapsed_s: Sequence[Sequence[float]],
    goals_s: Sequence[float],
    share: float,
) -> Reach:
    """How soon runs reach `share` of the reference's speed.

    Parameters
    ----------
    curves : Sequence[float64 array [trials]]
        Best latency after each trial, one for each run.
    elapsed_s : Sequence[Sequence[float]]
        Seconds after each trial, one for each run.
    goals_s : Sequence[float]
        The reference's best latency on the run's workload; share 0.9 means a latency of goal / 0.9.

    Returns
    -------
    Reach
        Medians over the runs, None if half or more of them never get there; `reached` is the share
        of runs that do.
    """
    trials, seconds = [], []
    for curve, times, goal in zip(curves, elapsed_s, goals_s):
        count = first_reach(curve, goal / share)
        trials.append(np.inf if count is None else count)
        seconds.append(np.inf if count is None or count > len(times) else times[count - 1])
    middle = [float(np.median(x)) if x else np.inf for x in (trials, seconds)]
    known = [x if np.isfinite(x) else None for x in middle]
    share_reached = float(np.mean(np.isfinite(trials))) if trials else 0.0
    return Reach(share, known[0], known[1], share_reached)
