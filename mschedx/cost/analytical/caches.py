"""Bytes that move between the caches of a CPU while a statement runs.

A cache keeps what a loop's body touches if that fits, so that over the whole loop each line is
fetched once, and again for every iteration of the loops outside. Whether something fits is a soft
decision, ``1 / (1 + (footprint / size)^4)``: the result does not jump where a footprint passes a
cache's size.
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
    footprints: list[FloatArray],
    costs: list[FloatArray],
    extents: FloatArray,
    cache_bytes: float,
) -> FloatArray:
    """What fetching into a cache costs in all, [n].

    Parameters
    ----------
    footprints : list of float64 arrays [L + 1, n]
        Per access, bytes at every level.
    costs : list of float64 arrays [L + 1, n]
        Per access, what fetching these once costs, in whatever unit.
    extents : float64 array [L, n]
    cache_bytes : float
    """
    levels = len(extents) + 1
    n = extents.shape[1]
    if not footprints:
        return np.zeros(n)
    together = sum(footprints, np.zeros_like(footprints[0]))
    fits = 1 / (1 + (together / cache_bytes) ** _SHARPNESS)
    total, outside, before = np.zeros(n), np.ones(n), np.zeros(n)
    for level in range(levels):
        # What does not fit even one instance is fetched all the same.
        share = (fits[level] if level + 1 < levels else 1.0) - before
        before = before + share
        around = max(level - 1, 0)
        total = total + share * outside * sum(own[around] for own in costs)
        if level:
            outside = outside * extents[level - 1]
    return total
