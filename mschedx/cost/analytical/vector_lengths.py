"""How long LLVM makes the vectors of a loop that stays one, and what is left over of them.

It counts what a loop of known trips would take with each length: vectors, and one step for every
iteration left over. So 28 iterations are 7 vectors of 4 and not one of 16, one of 8 and one of 4.
A loop of fewer than 16 that leaves something over is a single vector with a mask. What is left
over of the longest vectors becomes vectors itself. Read off assembly of AVX-512, and timed there
(``docs/findings.md``).
"""

from __future__ import annotations

import numpy as np

from .view import FloatArray

SHORT = 16.0
"""Iterations below which LLVM leaves nothing over."""

MASKED = 1.3
"""How many times longer a vector takes that is masked: loads and stores of it do."""


def vector_length(extent: FloatArray, longest: float) -> FloatArray:
    """Lanes that LLVM chooses for a loop [n] of integer vectors or floats.

    Parameters
    ----------
    extent : float64 array [n]
        Trips; relaxed ones are rounded.
    longest : float
        Lanes of a register, a power of two.
    """
    trips = _trips(extent)
    chosen, fewest = np.ones_like(trips), trips.copy()
    lanes = 2.0
    while lanes <= longest:
        steps = np.floor(trips / lanes) + trips % lanes
        better = (lanes <= trips) & (steps < fewest)
        chosen, fewest = np.where(better, lanes, chosen), np.where(better, steps, fewest)
        lanes *= 2
    covering = np.minimum(2 ** np.ceil(np.log2(trips)), longest)
    return np.where(trips < SHORT, covering, chosen)


def full_vectors(extent: FloatArray, longest: float, narrow: float) -> FloatArray:
    """What the vectors of a loop cost, in full ones: float64 [n], > 0.

    Parameters
    ----------
    extent, longest
        As of `vector_length`.
    narrow : float
        What one of half the length or less costs, or a scalar, in full ones.
    """
    trips = _trips(extent)
    lanes = vector_length(trips, longest)

    def each(length: FloatArray) -> FloatArray:
        return np.where(length < longest, narrow, 1.0)

    rest = trips % lanes
    shorter = vector_length(np.maximum(rest, 1), longest / 2)
    again = np.floor(rest / shorter) + rest % shorter
    left = np.where(lanes < longest, rest, again) * narrow
    masked = np.where(trips < lanes, MASKED, 1.0) * each(lanes) * np.ceil(trips / lanes)
    return np.where(trips < SHORT, masked, np.floor(trips / lanes) * each(lanes) + left)


def _trips(extent: FloatArray) -> FloatArray:
    return np.maximum(np.rint(extent), 1.0)
