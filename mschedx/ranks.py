"""How far two orders of the same things agree."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman's correlation of two lists of numbers, in [-1, 1]; ties share their places.

    Parameters
    ----------
    one, other : float64 array_like [n]
        Neither holds nan; infinite ones come first or last.

    Returns
    -------
    float
        nan when all of one are equal, and where there are none.
    """
    a, b = _places(np.asarray(one, float)), _places(np.asarray(other, float))
    if not len(a):
        return math.nan
    a, b = a - a.mean(), b - b.mean()
    spread = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / spread if spread > 0 else math.nan


def _places(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
