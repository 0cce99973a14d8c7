"""A plain genetic algorithm with repair: the baseline that edits solutions instead of constraining.

Children are uniform crossovers with random mutations, made without a look at the constraints.
Broken tiles are then snapped to the nearest factorisation, and a child that still violates a
constraint is replaced by its first parent. What that loses against `ConstrainedEvolution` is the
price of not letting the constraints make the children.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .constrained_evolution import Evolution, EvolutionConfig
from .points import FloatArray, IntArray, Points, SketchSet

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch


@dataclass(frozen=True)
class GeneticConfig(EvolutionConfig):
    """Parameters of `RepairedGenetic`: those of the evolution, and the chance of a mutation.

    Parameters
    ----------
    mutation : float
        Probability that a decision takes a random value of its domain, in [0, 1].
    """

    mutation: float = 0.1

    def __post_init__(self) -> None:
        EvolutionConfig.__post_init__(self)
        if not 0 <= self.mutation <= 1:
            raise ValueError(f"expected GeneticConfig.mutation in [0, 1], got {self.mutation}")


class Genetic(Evolution):
    """Crossover, mutation and repair in the frame of the constrained algorithm; a `Search`."""

    config: GeneticConfig

    def __init__(self, config: GeneticConfig) -> None:
        super().__init__(config)

    def offspring(
        self,
        space: SketchSet,
        first: Points,
        second: Points,
        weights: FloatArray | None,
        rng: np.random.Generator,
    ) -> Points:
        del weights
        mixed = np.where(rng.random(first.configs.shape) < 0.5, first.configs, second.configs)
        for s, positions, _ in space.groups(first):
            sketch = space.sketches[s]
            configs = mixed[positions, : space.depths[s]]
            configs = mutate(sketch, configs, self.config.mutation, rng)
            mixed[positions, : space.depths[s]] = repair(sketch, configs)
        children = Points(first.sketch.copy(), mixed)
        broken = ~space.is_valid(children)
        children.configs[broken] = first.configs[broken]
        return children


def mutate(
    sketch: Sketch, configs: IntArray, probability: float, rng: np.random.Generator
) -> IntArray:
    """Replace values of configs [n, D] by random ones of their domains."""
    mutated = configs.copy()
    for decision in sketch.decisions:
        hit = np.flatnonzero(rng.random(len(configs)) < probability)
        mutated[hit, decision.column] = rng.choice(decision.domain, size=len(hit))
    return mutated


def repair(sketch: Sketch, configs: IntArray) -> IntArray:
    """Snap every tile of configs [n, D] to the nearest row of its table, in log distance."""
    repaired = configs.copy()
    for table in sketch.design.tables:
        columns = list(table.columns)
        if len(columns) < 2:
            continue
        wanted, have = np.log2(np.maximum(configs[:, columns], 1)), np.log2(table.rows)
        distance = np.abs(wanted[:, None, :] - have[None, :, :]).sum(axis=2)
        repaired[:, columns] = table.rows[distance.argmin(axis=1)]
    return repaired
