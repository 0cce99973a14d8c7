"""Distances between values of decisions, whose ratios matter: differences of logarithms to base 2.

Notation
--------
n : number of points; r : number of rows of a table; c : of its columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_LEAST = 2.0**-16
"""What a value that should be positive, but is not, counts as."""


def octaves(rows: IntArray, values: ArrayLike) -> FloatArray:
    """Map values [n, c] of the columns of a table [r, c] to the scale of distances.

    ``log2 x`` where all that a column takes is positive, ``log2(1 + x)`` (``x`` below 0) elsewhere.
    """
    values = np.asarray(values, dtype=np.float64)
    positive = (rows >= 1).all(axis=0)
    logs = np.log2(np.where(positive, np.maximum(values, _LEAST), 1 + np.maximum(values, 0)))
    return np.where(positive | (values >= 0), logs, values)


def distances(points: FloatArray, rows: FloatArray) -> FloatArray:
    """How far points [n, c] are from each of rows [r, c], both scaled: float64 [n, r]."""
    far = np.zeros((len(points), len(rows)))
    for column in range(rows.shape[1]):
        far += np.abs(points[:, column, None] - rows[None, :, column])
    return far
