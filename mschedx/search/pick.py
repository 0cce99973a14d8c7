"""Ways to pick from scored points: each orders all positions, most wanted first.

What follows the ``count`` wanted are spares, for points that turn out to have no program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mschedx.ranges import require_shares

from .points import FloatArray, IntArray


class Pick(Protocol):
    """A rule to pick by."""

    def __call__(self, scores: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
        """Order positions.

        Parameters
        ----------
        scores : float64 array [n]
            Higher is better.
        count : int
            How many are wanted, >= 0; may be more than n.
        rng : numpy.random.Generator

        Returns
        -------
        int64 array [n]
            A permutation.
        """
        ...


@dataclass(frozen=True)
class Greedy:
    """The best first, ties shuffled."""

    def __call__(self, scores: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
        del count
        return np.lexsort([rng.random(len(scores)), -scores])


@dataclass(frozen=True)
class GreedyThenRoulette:
    """The best for a share of the places, the others drawn by `roulette`; Heron's rule.

    Parameters
    ----------
    share : float
        Places taken by score alone, in [0, 1].
    """

    share: float

    def __post_init__(self) -> None:
        require_shares(self, "share")

    def __call__(self, scores: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
        order = Greedy()(scores, count, rng)
        best = order[: round(self.share * count)]
        rest = order[len(best) :]
        by_chance = min(count - len(best), len(rest))
        if by_chance <= 0:
            return order
        lucky = rest[roulette(scores[rest], by_chance, rng, distinct=True)]
        return np.concatenate([best, lucky, rest[~np.isin(rest, lucky)]])


@dataclass(frozen=True)
class EpsilonGreedy:
    """The best, but for a share of the places, which go to any of the others alike; TVM's rule.

    Parameters
    ----------
    epsilon : float
        Places given by chance, in [0, 1].
    """

    epsilon: float

    def __post_init__(self) -> None:
        require_shares(self, "epsilon")

    def __call__(self, scores: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
        order = Greedy()(scores, count, rng)
        best = order[: round((1 - self.epsilon) * count)]
        rest = order[len(best) :]
        lucky = rest[rng.permutation(len(rest))[: max(count - len(best), 0)]]
        return np.concatenate([best, lucky, rest[~np.isin(rest, lucky)]])


def roulette(weights: FloatArray, count: int, rng: np.random.Generator, distinct: bool) -> IntArray:
    """Draw positions in proportion to ``weights - min``; uniformly when all weights are equal.

    Parameters
    ----------
    weights : float64 array [n]
    count : int
        At most n when ``distinct``.
    """
    share = weights - weights.min()
    if share.sum() <= 0:
        share = np.ones(len(weights))
    if distinct:
        # The worst has no share of the wheel; a trickle lets it fill up a full draw.
        share = share + 1e-9 * share.max()
    return rng.choice(len(weights), size=count, replace=not distinct, p=share / share.sum())
