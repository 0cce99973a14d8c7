"""Choices (unrolling, vector lengths of a fetch) are no numbers: the best are found by trying."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .points import IntArray, Points, SketchSet
from .pool import Scored, gather
from .scoring import Scorer

Varied = Callable[[int, IntArray], tuple[IntArray, list[int]]]
"""Takes a sketch and configs [n, D] of it; gives configs that differ from these in nothing but
choices, and the columns that are choices."""


def with_best_choices(
    points: Points, space: SketchSet, scorer: Scorer, varied: Varied
) -> tuple[Points, Scored]:
    """Give points [n] the choices that score best.

    Parameters
    ----------
    points : Points [n]
    space, scorer
    varied : callable
        See `Varied`.

    Returns
    -------
    points : Points [n]
        In the same order.
    scored : Scored
        All that was scored for it.
    """
    own, every = points.configs.copy(), Scored(space.empty(), np.empty(0))
    for s, positions, configs in space.groups(points):
        others, choices = varied(s, configs)
        if not len(others):
            continue
        scored = Scored.by(scorer, gather(space.lift(s, others), points.take(positions)))
        every = every.merged(scored)
        fixed = [c for c in range(space.depths[s]) if c not in choices]
        best: dict[bytes, int] = {}
        for i in np.argsort(-scored.scores, kind="stable"):
            best.setdefault(scored.points.configs[i, fixed].tobytes(), int(i))
        chosen = [best[config[fixed].tobytes()] for config in configs]
        own[positions] = scored.points.configs[chosen]
    return Points(points.sketch.copy(), own), every
