"""The strategies users name: parameters, and the search each of them runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tvm.ir.utils import derived_object

from .base import Search
from .constrained_evolution import Evolution, EvolutionConfig
from .constrained_random import RandomSearch
from .repaired_genetic import Genetic, GeneticConfig
from .strategy import Strategy


@derived_object
class ConstrainedEvolution(Strategy):
    """Heron's constrained genetic algorithm as a MetaSchedule strategy.

    ``ms.tune_tir(..., strategy=mschedx.ConstrainedEvolution())`` works with any space and any cost
    model; with one of ours whole populations are scored as arrays.

    Parameters
    ----------
    config : EvolutionConfig, optional
    **changes
        Single parameters of `EvolutionConfig` to set, such as ``generations=10``.
    """

    def __init__(self, config: EvolutionConfig | None = None, **changes: Any) -> None:
        self.config = replace(config or EvolutionConfig(), **changes)
        super().__init__(self.config.batch, self.config.pool)

    def make_search(self) -> Search:
        return Evolution(self.config)

    def clone(self) -> Any:
        return ConstrainedEvolution(self.config)


@derived_object
class ConstrainedRandom(Strategy):
    """Uniform valid candidates, no learning: what the constrained space alone achieves.

    Parameters
    ----------
    batch : int, optional
        Most candidates per round; from the number of trials when None, as in `EvolutionConfig`.
    """

    def __init__(self, batch: int | None = None) -> None:
        if batch is not None and batch < 1:
            raise ValueError(f"expected batch >= 1, got {batch}")
        super().__init__(batch, pool=1)

    def make_search(self) -> Search:
        return RandomSearch()

    def clone(self) -> Any:
        return ConstrainedRandom(self._round)


@derived_object
class RepairedGenetic(Strategy):
    """A genetic algorithm that edits configs and repairs them; the classic to compare with.

    Parameters
    ----------
    config : GeneticConfig, optional
    **changes
        Single parameters of `GeneticConfig` to set.
    """

    def __init__(self, config: GeneticConfig | None = None, **changes: Any) -> None:
        self.config = replace(config or GeneticConfig(), **changes)
        super().__init__(self.config.batch, self.config.pool)

    def make_search(self) -> Search:
        return Genetic(self.config)

    def clone(self) -> Any:
        return RepairedGenetic(self.config)
