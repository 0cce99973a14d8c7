"""Bytes that move between the caches of a CPU while a statement runs.

A cache keeps what a loop touches if that fits. What fits at level j is fetched once, and again for
every iteration of the loops outside, except that the innermost of these leaves in the cache what it
does not move. Whether something fits is a soft decision, ``1 / (1 + (footprint / size)^4)``, so that
the result does not jump where a footprint passes a cache's size.
"""

from __future__ import annotations

import numpy as np

from .view import AccessView, FloatArray

_SHARPNESS = 4.0


def lines(access: AccessView, line_bytes: int) -> FloatArray:
    """Bytes of the whole cache lines that are touched at every level, [L + 1, n]."""
    size = access.access.element_bytes
    run = np.maximum(access.runs * size, size)
    whole = np.ceil(run / line_bytes) * line_bytes
    return np.minimum(access.bytes * whole / run, np.maximum(access.allocated_bytes, line_bytes))


def traffic(
    footprints: list[FloatArray], extents: FloatArray, cache_bytes: float
) -> list[FloatArray]:
    """Bytes of each access that come into a cache.

    Parameters
    ----------
    footprints : list of float64 arrays [L + 1, n]
        Per access, bytes at every level.
    extents : float64 array [L, n]
    cache_bytes : float

    Returns
    -------
    list of float64 arrays [n]
    """
    levels = len(extents) + 1
    together = sum(footprints, np.zeros_like(footprints[0])) if footprints else None
    if together is None:
        return []
    fits = 1 / (1 + (together / cache_bytes) ** _SHARPNESS)
    outside = np.ones_like(extents[0]) if levels > 1 else np.ones(together.shape[1])
    totals = [np.zeros(together.shape[1]) for _ in footprints]
    before = np.zeros(together.shape[1])
    for level in range(levels):
        # What does not fit even one instance is fetched all the same.
        share = (fits[level] if level + 1 < levels else 1.0) - before
        before = before + share
        for position, own in enumerate(footprints):
            repeated = outside
            if level:
                still = own[level - 1] <= own[level] * (1 + 1e-9)
                repeated = np.where(still, outside / extents[level - 1], outside)
            totals[position] = totals[position] + share * own[level] * repeated
        if level + 1 < levels:
            outside = outside * extents[level]
    return totals
