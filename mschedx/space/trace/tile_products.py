"""Find the product of decisions that a quantity equals, from observed configs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..algebra.expression import Monomial, monomial

IntArray = NDArray[np.int64]


def fit_product(values: IntArray, configs: IntArray, max_factors: int = 4) -> Monomial | None:
    """Fit ``c · Π x[d]`` with the fewest columns.

    Parameters
    ----------
    values : int64 array [k]
        The quantity, > 0, at each config.
    configs : int64 array [k, D]
        Positive entries in the columns that may take part; put 0 into the others.
    max_factors : int
        Most columns to try.

    Returns
    -------
    Monomial or None
        A product that equals ``values`` on all k configs exactly, or None. The more configs, the
        less likely a coincidence; callers verify on others.
    """
    usable = (configs > 0).all(axis=0) & (configs != configs[:1]).any(axis=0)
    candidates = [int(c) for c in np.flatnonzero(usable)]
    for depth in range(max_factors + 1):
        columns = _search(values, configs, candidates, depth)
        if columns is not None:
            rest = values // configs[:, columns].prod(axis=1)
            return monomial(int(rest[0]), {column: 1 for column in columns})
    return None


def _search(
    values: IntArray, configs: IntArray, candidates: list[int], depth: int
) -> list[int] | None:
    """Choose ``depth`` columns whose product divides ``values`` to a constant."""
    if (values == values[0]).all():
        return []
    if depth == 0:
        return None
    for position, column in enumerate(candidates):
        if (values % configs[:, column] == 0).all():
            rest = values // configs[:, column]
            tail = _search(rest, configs, candidates[position + 1 :], depth - 1)
            if tail is not None:
                return [column, *tail]
    return None
