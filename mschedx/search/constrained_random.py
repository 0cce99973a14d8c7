"""Constrained random search: the baseline that shows what the constraints alone are worth."""

from __future__ import annotations

import numpy as np

from .base import sample_new
from .history import History
from .points import Points, SketchSet
from .scoring import Scorer


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
