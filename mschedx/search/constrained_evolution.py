"""Heron's constrained genetic algorithm (CGA).

Solutions are never edited: crossover adds constraints ("this key decision takes a value of one of
the parents") and samples from what they leave, so every child is valid by construction. The frame
around it is `population`'s.

References
----------
Bi et al., "Heron", ASPLOS 2023, sections 5.1-5.3 (algorithms 2 and 3); parameters as in github
IPRC-ICT/Heron, its first release being the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

import numpy as np

from mschedx.ranges import require_shares

from .moves import key_columns
from .points import BoolArray, FloatArray, IntArray, Points, SketchSet
from .population import PopulationConfig, PopulationSearch
from .strategy import Strategy


class Keys(StrEnum):
    """How crossover chooses the decisions that children must take from a parent."""

    IMPORTANCE = "importance"
    """The ones the cost model splits on most: the mode the paper describes."""
    RANDOM = "random"
    """Any, afresh for every child: the paper's ablation CGA-1."""


@dataclass(frozen=True)
class EvolutionConfig(PopulationConfig):
    """Parameters of the constrained genetic algorithm: those of its frame, and its keys.

    Parameters
    ----------
    key_ratio : float
        Share of the genes that are keys, in [0, 1] (Heron: 0.2; its first release 0.14).
    keys : Keys
        Or its value, as a str.

    Raises
    ------
    ValueError
        For a parameter outside its range.
    """

    key_ratio: float = 0.2
    keys: Keys = Keys.IMPORTANCE

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "keys", Keys(self.keys))
        require_shares(self, "key_ratio")


@dataclass(frozen=True)
class ConstrainedCrossover:
    """Children that share their parents' values of all key genes but one; a `Breed`.

    Parameters
    ----------
    key_ratio : float
        Share of the genes that are keys, in [0, 1].
    keys : Keys
        Keys are drawn at random for every child also where importance is not known.
    """

    key_ratio: float
    keys: Keys

    @property
    def by_importance(self) -> bool:
        return self.keys is Keys.IMPORTANCE

    def __call__(
        self,
        space: SketchSet,
        first: Points,
        second: Points,
        weights: FloatArray | None,
        rng: np.random.Generator,
    ) -> Points:
        keys = np.zeros_like(first.configs, dtype=bool)
        for s, positions, _ in space.groups(first):
            of_sketch = None if weights is None else weights[s]
            keep = self.kept(space.genes[s], len(positions), of_sketch, rng)
            keys[positions] = key_columns(space.genes[s], keep, space.width)
        return space.recombine(first, second, keys, rng)

    def kept(
        self,
        genes: tuple[IntArray, ...],
        count: int,
        weights: FloatArray | None,
        rng: np.random.Generator,
    ) -> BoolArray:
        """Choose, per child, the genes that must have a parent's value: the keys but one.

        The one, drawn at random, is the mutation.

        Parameters
        ----------
        genes : tuple of int64 arrays [G]
            The genes of a sketch.
        count : int
            Number of children.
        weights : float64 array [W] or None
            Importance of each column; None draws the keys at random.
        rng : numpy.random.Generator

        Returns
        -------
        bool array [count, G]
        """
        total = len(genes)
        # One key is freed; with a single one nothing would be inherited at all.
        keys = min(max(2, round(self.key_ratio * total)), total)
        if weights is None:
            order = np.argsort(rng.random((count, total)), axis=1)
        else:
            of_gene = np.array([weights[columns].sum() for columns in genes])
            order = np.repeat(np.argsort(-of_gene, kind="stable")[None], count, axis=0)
        keep = np.zeros((count, total), dtype=bool)
        np.put_along_axis(keep, order[:, :keys], True, axis=1)
        if total:
            freed = order[np.arange(count), rng.integers(keys, size=count)]
            keep[np.arange(count), freed] = False
        return keep


class Evolution(PopulationSearch):
    """The constrained genetic algorithm of one task.

    Parameters
    ----------
    config : EvolutionConfig
    """

    def __init__(self, config: EvolutionConfig) -> None:
        super().__init__(config, ConstrainedCrossover(config.key_ratio, config.keys))


class ConstrainedEvolution(Strategy):
    """Heron's constrained genetic algorithm as a MetaSchedule strategy.

    ``ms.tune_tir(..., strategy=mschedx.ConstrainedEvolution())`` works with any space and any cost
    model; with one of ours whole populations are scored as arrays.

    Parameters
    ----------
    config : EvolutionConfig, optional
    **changes
        Single parameters of `EvolutionConfig` to set, such as ``generations=10``.

    Raises
    ------
    ValueError, TypeError
        For a parameter outside its range, and one that there is not.
    """

    def __init__(self, config: EvolutionConfig | None = None, **changes: Any) -> None:
        self.config = replace(config or EvolutionConfig(), **changes)
        make = partial(Evolution, self.config)
        super().__init__(make, batch=self.config.batch, pool=self.config.pool)
