"""A plain genetic algorithm with repair: the baseline that edits solutions instead of constraining.

Children are uniform crossovers with random mutations, made without a look at the constraints.
Broken tiles are then snapped to the nearest factorisation, and a child that still violates a
constraint is replaced by its first parent. What that loses against `ConstrainedEvolution` is the
price of not letting the constraints make the children.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mschedx.ranges import require_shares

from .moves import uniform_crossover
from .mutation import random_values
from .points import FloatArray, Points, SketchSet
from .population import PopulationConfig, PopulationSearch
from .repair import snapped, valid_or
from .strategy import Strategy


@dataclass(frozen=True)
class GeneticConfig(PopulationConfig):
    """Parameters of `RepairedGenetic`: those of the frame, and the chance of a mutation.

    Parameters
    ----------
    mutation : float
        Probability that a decision takes a random value of its domain, in [0, 1].

    Raises
    ------
    ValueError
        For a parameter outside its range.
    """

    mutation: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_shares(self, "mutation")


@dataclass(frozen=True)
class RepairedCrossover:
    """Crossover, mutation and repair; a `Breed`.

    Parameters
    ----------
    mutation : float
        As in `GeneticConfig`.
    """

    mutation: float
    by_importance = False

    def __call__(
        self,
        space: SketchSet,
        first: Points,
        second: Points,
        weights: FloatArray | None,
        rng: np.random.Generator,
    ) -> Points:
        del weights
        children = uniform_crossover(first, second, rng)
        for s, positions, configs in space.groups(children):
            sketch = space.sketches[s]
            mutated = random_values(sketch, configs, self.mutation, rng)
            children.configs[positions, : space.depths[s]] = snapped(sketch, mutated)
        return valid_or(space, children, first)


class Genetic(PopulationSearch):
    """The repaired genetic algorithm of one task.

    Parameters
    ----------
    config : GeneticConfig
    """

    def __init__(self, config: GeneticConfig) -> None:
        super().__init__(config, RepairedCrossover(config.mutation))


class RepairedGenetic(Strategy):
    """A genetic algorithm that edits configs and repairs them; the classic to compare with.

    Parameters
    ----------
    config : GeneticConfig, optional
    **changes
        Single parameters of `GeneticConfig` to set.

    Raises
    ------
    ValueError, TypeError
        For a parameter outside its range, and one that there is not.
    """

    def __init__(self, config: GeneticConfig | None = None, **changes: Any) -> None:
        self.config = replace(config or GeneticConfig(), **changes)
        make = partial(Genetic, self.config)
        super().__init__(make, batch=self.config.batch, pool=self.config.pool)
