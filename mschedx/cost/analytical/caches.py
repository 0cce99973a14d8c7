"""Bytes that move between the caches of a CPU while a statement runs.

A cache keeps what a loop's body touches if that fits, so that over the whole loop each line is
fetched once, and again for every iteration of the loops outside. Whether something fits is a soft
decision, ``1 / (1 + (footprint / size)^4)``: the result does not jump where a footprint passes a
cache's size.

The first cache finds a line by its place within a page, so that of rows that are whole pages apart
it keeps little more than it has ways, however small they are (:func:`crowding`, :func:`held`).
"""

from __future__ import annotations

import numpy as np

from .view import AccessView, FloatArray, IntArray

_SHARPNESS = 4.0
"""The power above; by hand."""

_NONE_LOST, _ALL_LOST = 1.3, 3.5
"""Lines of a set, of its ways, up to which all stay and from which on none does.

Of 4 to 28 rows whole pages apart, read by a tile of as many sums on a Zen 4 (8 ways): up to 10 as
fast as rows apart, 12 by 1.1 cycles a row and step slower, then evenly to 4 with 28: as long as a
line from L2 takes.
"""


def lines(access: AccessView, extents: FloatArray, line_bytes: int) -> FloatArray:
    """Bytes of the whole cache lines, or pages, that are touched at every level, [L + 1, n].

    Every run touches whole lines, but runs that begin less than a line apart share them: there are
    no more lines than from the first element to the last.
    """
    size = access.access.element_bytes
    run = np.maximum(access.runs * size, size)
    whole = np.ceil(run / line_bytes) * line_bytes
    reach = np.ceil(_reach(access, extents) / line_bytes) * line_bytes
    most = np.maximum(access.allocated_bytes, line_bytes)
    return np.minimum(np.minimum(access.bytes * whole / run, reach), most)


def _reach(access: AccessView, extents: FloatArray) -> FloatArray:
    """Bytes from the first element touched to the last at every level, [L + 1, n].

    Infinite where the step of a loop is not known.
    """
    size = access.access.element_bytes
    steps = np.abs(np.where(np.isnan(access.strides), np.inf, access.strides)) * size
    moved = np.where(extents > 1, np.maximum(extents - 1, 1.0) * steps, 0.0)
    inside = np.cumsum(moved[::-1], axis=0)[::-1]
    return size + np.concatenate([inside, np.zeros_like(extents[:1])])


def compacted_strides(access: AccessView, extents: FloatArray) -> FloatArray:
    """Strides in a buffer that is compacted to what some loops touch of it, elements, [L, n].

    TVM keeps of every dimension what is touched. A loop that steps beyond all that those with
    shorter steps go over begins another dimension, of which a step is as long as all these together
    are once compacted; others move along the dimension that was begun.

    Parameters
    ----------
    access : AccessView
        Of a buffer that is allocated outside of these loops.
    extents : float64 array [L, n]
        1 for loops around the allocation.
    """
    size = access.access.element_bytes
    steps = np.where(extents > 1, np.abs(access.strides), 0.0)
    order = np.argsort(np.where(np.isnan(steps), np.inf, steps), axis=0, kind="stable")
    found = np.zeros_like(steps)
    # Elements gone over, as written and as compacted, and how the two compare in this dimension.
    span, dense, scale = (np.ones(extents.shape[1]) for _ in range(3))
    for row in order:
        loop = row[None]
        step = np.take_along_axis(steps, loop, axis=0)[0]
        extent = np.take_along_axis(extents, loop, axis=0)[0]
        begins = step > span
        scale = np.where(begins, dense / np.maximum(step, 1.0), scale)
        np.put_along_axis(found, loop, (step * scale)[None], axis=0)
        moved = np.where(np.isnan(step), 0.0, (extent - 1) * step)
        span, dense = span + moved, dense + moved * scale
    most = access.allocated_bytes / size
    return np.where(np.isnan(access.strides), np.nan, np.minimum(found, most))


def crowding(
    access: AccessView, extents: FloatArray, line_bytes: int, way_bytes: int
) -> FloatArray:
    """Lines of an access that share a set of a cache at every level, [L + 1, n].

    Its lines in all over the sets that they are spread over: those of a run lie in neighbouring
    sets, and runs that begin a step apart in as many as the step allows. Loops whose step is not
    known or within a run add none.

    Parameters
    ----------
    access : AccessView
    extents : float64 array [L, n]
        Of the statement's loops.
    line_bytes, way_bytes : int
        Of a line, and of all sets with one line each: a power of two.
    """
    size = access.access.element_bytes
    runs = np.maximum(access.runs * size, line_bytes)
    rows, spread = np.ones(extents.shape[1]), np.ones(extents.shape[1])
    found = [np.ones(extents.shape[1])]
    for position in reversed(range(len(extents))):
        stride = np.abs(access.strides[position])
        step = np.rint(np.where(np.isnan(stride), 0.0, stride) * size)
        apart = (step >= runs[position + 1]) & (runs[position] == runs[position + 1])
        places = way_bytes / _common_power(step.astype(np.int64), way_bytes)
        rows = rows * np.where(apart, extents[position], 1.0)
        spread = spread * np.where(apart, np.minimum(extents[position], places), 1.0)
        length = np.ceil(runs[position] / line_bytes)
        sets = np.minimum(way_bytes / line_bytes, spread * length)
        found.append(rows * length / sets)
    return np.stack(found[::-1])


def _common_power(steps: IntArray, power: int) -> IntArray:
    """The greatest common divisor of whole steps [n] and a power of two."""
    lowest = steps & -steps
    return np.where(lowest == 0, power, np.minimum(lowest, power))


def held(lines_of_a_set: FloatArray, ways: float) -> FloatArray:
    """The share of its lines that a set of ``ways`` keeps while they are read in turn."""
    over = lines_of_a_set / ways - _NONE_LOST
    return 1 - np.clip(over / (_ALL_LOST - _NONE_LOST), 0.0, 1.0)


def traffic(
    footprints: list[FloatArray],
    costs: list[FloatArray],
    trips: FloatArray,
    cache_bytes: float,
) -> FloatArray:
    """What fetching into a cache costs in all, [n].

    Parameters
    ----------
    footprints : list of float64 arrays [L + 1, n]
        Per access, bytes at every level.
    costs : list of float64 arrays [L + 1, n]
        Per access, what fetching these once costs, in whatever unit.
    trips : float64 array [L, n]
        How often each loop runs its body.
    cache_bytes : float
    """
    levels = len(trips) + 1
    n = trips.shape[1]
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
            outside = outside * trips[level - 1]
    return total
