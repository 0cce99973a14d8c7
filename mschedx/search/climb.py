"""Climbing: from scored points to better ones near them, for as long as there are any.

The points that climb on are chosen anew at every step (`Front`). Were they the best of all, the
neighbours of one point would take the places of all others after a few steps, and what is measured
next would be one guess in a dozen forms.
"""

from __future__ import annotations

from collections.abc import Callable

from .points import Points, SketchSet
from .pool import Scored
from .scoring import Scorer

Around = Callable[[Points], Points]
"""Valid points near points."""

Front = Callable[[Scored, int], Scored]
"""So many of some scored points."""


def climb(
    start: Scored, space: SketchSet, scorer: Scorer, around: Around, front: Front, most: int
) -> Scored:
    """Go to better neighbours, ``most`` times at most.

    Parameters
    ----------
    start : Scored
    space, scorer
    around, front : callable
    most : int

    Returns
    -------
    Scored
        Everything that was scored, ``start`` too.
    """
    seen, climbing = start, start
    for _ in range(most):
        if not len(climbing):
            break
        fresh = Points.concatenate([space.empty(), around(climbing.points)])
        fresh = fresh.distinct(seen.points.codes())
        if not len(fresh):
            break
        scored = Scored.by(scorer, fresh)
        seen = seen.merged(scored)
        climbing = front(scored.take(scored.scores > climbing.scores.min()), len(start))
    return seen
