"""How well scores rank what was measured.

Notation
--------
n : number of programs of a task; k : how many of them may be measured.

Latencies are in seconds, ``inf`` for a program that failed; scores are better when higher.

References
----------
Zheng et al., "TenSet", NeurIPS Datasets 2021, for peak score; Qiao et al., "Pruner", ASPLOS 2025,
section 6, for Top-k and Best-k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mschedx import ranks

FloatArray = NDArray[np.float64]
LatenciesAndScores = tuple[FloatArray, FloatArray]
"""Latencies [n] and scores [n] of one task."""


def pairwise_accuracy(latency_s: FloatArray, scores: FloatArray) -> float:
    """Share of pairs of different latencies whose scores are in the right order.

    Equal scores are half right; nan when no two latencies differ.
    """
    latency_s, scores = _checked(latency_s, scores)
    faster = latency_s[:, None] < latency_s[None, :]
    ahead = np.sign(scores[:, None] - scores[None, :])
    return float(((1 + ahead) / 2)[faster].mean()) if faster.any() else math.nan


def rank_correlation(latency_s: FloatArray, scores: FloatArray) -> float:
    """Spearman's correlation of scores with speed, in [−1, 1]; ties share their places.

    nan when all latencies, or all scores, are equal.
    """
    latency_s, scores = _checked(latency_s, scores)
    return ranks.rank_correlation(-latency_s, scores)


def top_k_mean(tasks: Sequence[LatenciesAndScores], k: int) -> float:
    """The repository's Top-k: the mean over tasks of the best label among the first k.

    The label of a program is the task's best latency over its own; every task counts alike. Tasks
    of which nothing ran are left out; nan when none is left.
    """
    found = [s.min() / _of_first(s, scores, k) for s, scores in _ran(tasks)]
    return float(np.mean(found)) if found else math.nan


def top_k_sum(
    tasks: Sequence[LatenciesAndScores], k: int, weights: Sequence[float] | None = None
) -> float:
    """The papers' Top-k: ``Σ w·L* / Σ w·min(L_1 … L_k)``, L_i the latency of the i-th by score.

    A task counts by its latency and by how often a network runs it (``weights``, 1 when None). 0
    when the first k of a task all failed; nan when nothing ran at all.
    """
    return _sum_ratio(tasks, [k] * len(tasks), 1, weights)


def best_k(
    tasks: Sequence[LatenciesAndScores],
    drafts: int | Sequence[int],
    k: int,
    weights: Sequence[float] | None = None,
) -> float:
    """``Σ w·L* / Σ w·L_(k)``, L_(k) the k-th least latency among the first ``drafts`` by score.

    What a draft is worth: whether the programs it keeps hold good ones, in any order. ``drafts`` is
    for all tasks, or a number for each; of a smaller draft than k the last counts.
    """
    each = [drafts] * len(tasks) if isinstance(drafts, int) else drafts
    return _sum_ratio(tasks, each, k, weights)


def recall(latency_s: FloatArray, scores: FloatArray, kept: int, best: int) -> float:
    """Share of the ``best`` fastest programs among the ``kept`` of highest score, in [0, 1]."""
    latency_s, scores = _checked(latency_s, scores)
    best = min(best, int(np.isfinite(latency_s).sum()))
    if not best:
        return math.nan
    first = np.argsort(-scores, kind="stable")[:kept]
    return float((latency_s[first] <= np.sort(latency_s)[best - 1]).sum().clip(max=best)) / best


def _sum_ratio(
    tasks: Sequence[LatenciesAndScores],
    drafts: Sequence[int],
    k: int,
    weights: Sequence[float] | None,
) -> float:
    every = [1.0] * len(tasks) if weights is None else list(weights)
    if len(every) != len(tasks):
        raise ValueError(f"expected a weight per task, got {len(every)} for {len(tasks)}")
    best = found = 0.0
    for weight, count, task in zip(every, drafts, tasks, strict=True):
        for latency_s, scores in _ran([task]):
            best += weight * float(latency_s.min())
            found += weight * float(_of_first(latency_s, scores, count, k))
    return best / found if found else math.nan


def _of_first(latency_s: FloatArray, scores: FloatArray, count: int, k: int = 1) -> float:
    """The k-th least latency of the first ``count`` by score; of fewer, the greatest."""
    if count < 1 or k < 1:
        raise ValueError(f"expected counts of at least 1, got {count} and {k}")
    first = np.sort(latency_s[np.argsort(-scores, kind="stable")[:count]])
    return float(first[min(k, len(first)) - 1])


def _ran(tasks: Sequence[LatenciesAndScores]) -> list[LatenciesAndScores]:
    checked = [_checked(*task) for task in tasks]
    return [task for task in checked if np.isfinite(task[0]).any()]


def _checked(latency_s: FloatArray, scores: FloatArray) -> LatenciesAndScores:
    latency_s, scores = np.asarray(latency_s, float), np.asarray(scores, float)
    if latency_s.ndim != 1 or latency_s.shape != scores.shape:
        raise ValueError(
            f"expected latencies [n] and scores [n], got {latency_s.shape} and {scores.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError(f"expected scores, got nan for {np.isnan(scores).sum()} of {len(scores)}")
    return latency_s, scores
