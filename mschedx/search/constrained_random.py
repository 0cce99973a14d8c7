"""Constrained random search: the baseline that shows what the constraints alone are worth."""

from __future__ import annotations

import numpy as np

from .history import History
from .points import Points, SketchSet
from .pool import sample_new
from .scoring import Scorer
from .strategy import Strategy


class RandomSearch:
    """Valid points, uniformly from each sketch; a `Search` that learns nothing."""

    def propose(
        self,
        count: int,
        space: SketchSet,
        history: History,
        scorer: Scorer,
        rng: np.random.Generator,
    ) -> Points:
        del scorer
        return sample_new(count, space, history.tried, rng)


class ConstrainedRandom(Strategy):
    """Uniform valid candidates, no learning: what the constrained space alone achieves.

    Parameters
    ----------
    batch : int, optional
        Most candidates per round; from the number of trials when None, as in `EvolutionConfig`.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__(RandomSearch, batch=batch)
