"""The strategies users name: parameters, and the search each of them runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from .constrained_evolution import Evolution, EvolutionConfig
from .constrained_random import RandomSearch
from .repaired_genetic import Genetic, GeneticConfig
from .strategy import Strategy


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
        make = partial(Evolution, self.config)
        super().__init__(make, batch=self.config.batch, pool=self.config.pool)


class ConstrainedRandom(Strategy):
    """Uniform valid candidates, no learning: what the constrained space alone achieves.

    Parameters
    ----------
    batch : int, optional
        Most candidates per round; from the number of trials when None, as in `EvolutionConfig`.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__(RandomSearch, batch=batch)


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
        make = partial(Genetic, self.config)
        super().__init__(make, batch=self.config.batch, pool=self.config.pool)
