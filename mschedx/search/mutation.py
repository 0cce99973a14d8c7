"""Mutation that keeps constraints: one gene is drawn afresh from what the others leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .moves import key_columns
from .points import FloatArray, Points, SketchSet


@dataclass(frozen=True)
class Mutation:
    """Children of one parent with one gene drawn afresh; a `Breed` that looks at no father.

    Parameters
    ----------
    probability : float
        That a child differs from its parent.
    """

    probability: float

    @property
    def by_importance(self) -> bool:
        return False

    def __call__(
        self,
        space: SketchSet,
        first: Points,
        second: Points,
        weights: FloatArray | None,
        rng: np.random.Generator,
    ) -> Points:
        del second, weights
        keys = np.zeros(first.configs.shape, dtype=bool)
        for s, positions, _ in space.groups(first):
            genes = space.genes[s]
            keep = np.ones((len(positions), len(genes)), dtype=bool)
            if genes:
                freed = rng.integers(len(genes), size=len(positions))
                changed = rng.random(len(positions)) < self.probability
                keep[np.flatnonzero(changed), freed[changed]] = False
            keys[positions] = key_columns(genes, keep, space.width)
        return space.recombine(first, first, keys, rng)
