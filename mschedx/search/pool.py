"""What may be chosen from: points with their scores, gathered from wherever points come from.

A search gathers its last population, the fastest points so far, fresh samples and children, scores
them once, and picks (`pick`) from all it has seen.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from .points import BoolArray, FloatArray, IntArray, Points, SketchSet
from .scoring import Scorer

_SMALL = 4096
"""Configs up to which a sketch may be sampled to its last one."""


@dataclass(frozen=True)
class Scored:
    """Points with their scores.

    Parameters
    ----------
    points : Points [n]
    scores : float64 array [n]
        Higher is better.
    """

    points: Points
    scores: FloatArray

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.points),):
            raise ValueError(
                f"expected {len(self.points)} scores, one per point, got {self.scores.shape}"
            )

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def by(cls, scorer: Scorer, points: Points) -> Scored:
        """Score points."""
        return cls(points, scorer.score(points))

    def take(self, which: IntArray | BoolArray) -> Scored:
        """Return those at these positions, or where this mask is true."""
        return Scored(self.points.take(which), self.scores[which])

    def best(self, count: int) -> Scored:
        """Return the ``count`` with the best scores, best first, ties in order."""
        return self.take(np.argsort(-self.scores, kind="stable")[:count])

    def merged(self, other: Scored) -> Scored:
        """Join two sets; of equal points the first is kept."""
        points = Points.concatenate([self.points, other.points])
        scores = np.concatenate([self.scores, other.scores])
        position: dict[bytes, int] = {}
        for i, code in enumerate(points.codes()):
            position.setdefault(code, i)
        return Scored(points, scores).take(np.fromiter(position.values(), np.int64, len(position)))

    def untried(self, tried: Set[bytes]) -> Scored:
        """Leave out the points whose code is in ``tried``."""
        return self.take(np.array([code not in tried for code in self.points.codes()], dtype=bool))

    def filled(
        self, count: int, space: SketchSet, tried: Set[bytes], rng: np.random.Generator
    ) -> Scored:
        """Add fresh samples where there are fewer than ``count``.

        Nothing is known of them: they score 0, or as the worst here where that is less.
        """
        if len(self) >= count:
            return self
        more = sample_new(count - len(self), space, {*tried, *self.points.codes()}, rng)
        unknown = np.full(len(more), self.scores.min(initial=0.0))
        points = Points.concatenate([self.points, more])
        return Scored(points, np.concatenate([self.scores, unknown]))


def gather(*parts: Points) -> Points:
    """Join points, of equal ones the first; at least one part."""
    return Points.concatenate(parts).distinct()


def thinned(points: Points, count: int, rng: np.random.Generator) -> Points:
    """Leave ``count`` of points [n] at random, in order; all where there are no more."""
    return points.take(np.sort(rng.permutation(len(points))[:count]))


def sample_new(
    count: int, space: SketchSet, without: Set[bytes], rng: np.random.Generator
) -> Points:
    """Sample up to ``count`` distinct valid points that are not in ``without``.

    Small sketches are drawn from often enough to leave out none: a point of a sketch of n configs
    escapes 12·n draws with probability e^-12.
    """
    found = space.empty()
    size = max(count, len(space.opened))
    # Large sketches hardly ever repeat; two draws per wanted point are plenty there.
    sizes = [space.sketches[s].count() for s in space.opened]
    cover = max((12 * n for n in sizes if n is not None and n <= _SMALL), default=0)
    for _ in range(2 + len(space.opened) * cover // size):
        if len(found) >= count:
            break
        found = Points.concatenate([found, space.sample(size, rng)]).distinct(without)
    return found.take(np.arange(min(count, len(found))))
