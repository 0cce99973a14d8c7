"""Constrained random search: the baseline that shows what the constraints alone are worth."""

from __future__ import annotations

from .points import Points
from .pool import sample_new
from .request import Request
from .strategy import Strategy


class RandomSearch:
    """Valid points, as `SketchSet.sample` shares them out; a `Search` that learns nothing.

    Every design space with an open sketch is drawn from as often as the others, whatever its size;
    within one every config is as likely as the others, where its sketches can be counted.
    """

    def propose(self, request: Request) -> Points:
        return sample_new(request.count, request.space, request.history.tried, request.rng)


class ConstrainedRandom(Strategy):
    """Random valid candidates, no learning: what the constrained space alone achieves.

    Design spaces in equal shares, uniformly within each (`RandomSearch`).

    Parameters
    ----------
    batch : int, optional
        Most candidates per round; from the number of trials when None, as in `EvolutionConfig`.

    Raises
    ------
    ValueError
        For a batch below 1.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__(RandomSearch, batch=batch)
