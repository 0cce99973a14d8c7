"""Mutations: random values anywhere, or one gene drawn afresh from what the others leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .moves import key_columns
from .points import FloatArray, IntArray, Points, SketchSet

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch


def random_values(
    sketch: Sketch, configs: IntArray, probability: float, rng: np.random.Generator
) -> IntArray:
    """Replace values of configs [n, D] by random ones of their domains, valid or not."""
    mutated = configs.copy()
    for decision in sketch.decisions:
        hit = np.flatnonzero(rng.random(len(configs)) < probability)
        mutated[hit, decision.column] = rng.choice(decision.domain, size=len(hit))
    return mutated


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
