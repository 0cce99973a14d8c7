"""How a model ranks the trials of tasks that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mschedx.cost.base import CostModel

from .opened_tasks import OpenedTask

TOP = (1, 5)
"""k for which the best of the first k, and the k-th best of a draft, are reported."""

DRAFT = 4
"""A draft keeps one trial in so many."""


@dataclass(frozen=True)
class Ranking:
    """How a model ranks the trials of one held-out task, or of all of them.

    Parameters
    ----------
    name : str
    trials : int
    pairs : float
        Pairwise accuracy; the mean over tasks that have any.
    correlation : float
        Spearman's; the mean over tasks that have any.
    top_mean, top_sum : tuple of float
        Best of the first k of `TOP`, as a mean over tasks and as a ratio of sums; the same of one.
    best : tuple of float
        Best-k, the k-th best of a draft of a quarter of a task's trials, for k of `TOP`; ratios of
        sums.
    """

    name: str
    trials: int
    pairs: float
    correlation: float
    top_mean: tuple[float, ...]
    top_sum: tuple[float, ...]
    best: tuple[float, ...]


def evaluate(model: CostModel, tasks: Sequence[OpenedTask]) -> list[Ranking]:
    """Test a model on every task, then on all together."""
    from mschedx.cost.learned import metrics

    ranked = [(task.latency_s, task.scores(model)) for task in tasks]

    def ranking(name: str, chosen: list[metrics.LatenciesAndScores]) -> Ranking:
        drafts = [max(1, len(latency_s) // DRAFT) for latency_s, _ in chosen]
        return Ranking(
            name,
            sum(len(latency_s) for latency_s, _ in chosen),
            _mean([metrics.pairwise_accuracy(*one) for one in chosen]),
            _mean([metrics.rank_correlation(*one) for one in chosen]),
            tuple(metrics.top_k_mean(chosen, k) for k in TOP),
            tuple(metrics.top_k_sum(chosen, k) for k in TOP),
            tuple(metrics.best_k(chosen, drafts, k) for k in TOP),
        )

    single = [ranking(task.name, [one]) for task, one in zip(tasks, ranked)]
    return [*single, ranking("all", ranked)]


def _mean(values: Sequence[float]) -> float:
    """The mean over tasks; one whose programs, or scores, are all alike has no order to be right.

    nan where that is true of all.
    """
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def card_metrics(overall: Ranking) -> dict[str, float]:
    """What a card says of a ranking of all tasks."""
    found = {"pairwise accuracy": overall.pairs, "rank correlation": overall.correlation}
    for k, mean, total, best in zip(TOP, overall.top_mean, overall.top_sum, overall.best):
        found |= {f"top-{k} (mean of tasks)": mean, f"top-{k} (ratio of sums)": total}
        found[f"best-{k} of a quarter"] = best
    return {name: value for name, value in found.items() if np.isfinite(value)}
