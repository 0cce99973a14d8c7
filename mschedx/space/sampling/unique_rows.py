"""Finding rows in a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class RowIndex:
    """Tells in bulk which tuples are rows of a table.

    Parameters
    ----------
    rows : int64 array [r, c]
    """

    def __init__(self, rows: IntArray) -> None:
        self._levels: list[tuple[IntArray, IntArray]] = []
        known = np.zeros(len(rows), dtype=np.int64)
        for column in rows.T:
            domain, place = np.unique(column, return_inverse=True)
            # Renumbering the prefixes keeps the codes below r times the domain's size.
            codes, known = np.unique(known * len(domain) + place, return_inverse=True)
            self._levels.append((domain, codes))

    def contains(self, values: IntArray) -> BoolArray:
        """Tell which of ``values`` [n, c] are rows; bool [n]."""
        inside = np.ones(len(values), dtype=bool)
        prefix = np.zeros(len(values), dtype=np.int64)
        for column, (domain, codes) in zip(values.T, self._levels):
            place, found = _find(domain, column)
            prefix, known = _find(codes, prefix * len(domain) + place)
            inside &= found & known
        return inside


def _find(ordered: IntArray, values: IntArray) -> tuple[IntArray, BoolArray]:
    """Return the position of each value in ``ordered``, and whether it is there."""
    if not len(ordered):
        return np.zeros_like(values), np.zeros(len(values), dtype=bool)
    place = np.searchsorted(ordered, values).clip(max=len(ordered) - 1)
    return place, ordered[place] == values
