"""Ordered factorisations: the values that TVM's tile sampling instructions can take.

A tile decision writes an extent as an ordered product of ``n`` factors. TVM draws the exponents of
every prime on their own and rejects what breaks a side condition, so the reachable set is *all*
ordered factorisations that satisfy it; here that set is enumerated once, as an array.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedTrace

IntArray = NDArray[np.int64]

MAX_ROWS = 1 << 21
"""Largest table that is enumerated; 2**20 in 5 parts has 10 626 rows, 720720 in 5 has 656 250."""


def prime_powers(extent: int) -> dict[int, int]:
    """Factorise; ``extent`` >= 1 equals the product of ``prime ** power`` over the items."""
    powers: dict[int, int] = {}
    prime, rest = 2, extent
    while prime * prime <= rest:
        while rest % prime == 0:
            powers[prime] = powers.get(prime, 0) + 1
            rest //= prime
        prime += 1
    if rest > 1:
        powers[rest] = powers.get(rest, 0) + 1
    return powers


def count_factorizations(extent: int, parts: int) -> int:
    """Count the ordered factorisations of ``extent`` into ``parts`` factors."""
    total = 1
    for power in prime_powers(extent).values():
        total *= comb(power + parts - 1, parts - 1)
    return total


def factorizations(extent: int, parts: int) -> IntArray:
    """Enumerate the ordered factorisations of ``extent``.

    Parameters
    ----------
    extent : int
        The loop's extent, >= 1.
    parts : int
        The number of factors, >= 1.

    Returns
    -------
    int64 array [r, parts]
        Rows in lexicographic order; the product of each row is ``extent``.

    Raises
    ------
    UnsupportedTrace
        When there are more than ``MAX_ROWS`` of them.
    """
    if extent < 1 or parts < 1:
        raise ValueError(f"expected extent >= 1 and parts >= 1, got {extent} and {parts}")
    count = count_factorizations(extent, parts)
    if count > MAX_ROWS:
        raise UnsupportedTrace(
            f"a loop of extent {extent} has {count} factorisations into {parts} parts, more than "
            f"the {MAX_ROWS} that are enumerated: tile it in fewer parts, or pad it to an extent "
            "with fewer distinct primes"
        )
    rows = np.ones((1, parts), dtype=np.int64)
    for prime, power in sorted(prime_powers(extent).items()):
        shares = np.int64(prime) ** _compositions(power, parts)
        rows = (rows[:, None, :] * shares[None]).reshape(-1, parts)
    return rows[np.lexsort(rows.T[::-1])]


def perfect_tiles(extent: int, parts: int, max_innermost: int) -> IntArray:
    """Enumerate what SamplePerfectTile can return; int64 array [r, parts].

    ``max_innermost`` bounds the last factor (-1: no bound). The factor 1 always satisfies a bound
    >= 1, so the set is never empty.
    """
    rows = factorizations(extent, parts)
    return rows if max_innermost == -1 else rows[rows[:, -1] <= max_innermost]


def partitioned_tiles(extent: int, parts: int, position: int, inner: int) -> IntArray:
    """Enumerate what SamplePartitionedTile can return; int64 array [r, parts].

    The product of the factors from ``position`` on is a multiple of ``inner``; no row when
    ``inner`` does not divide ``extent``.
    """
    rows = factorizations(extent, parts)
    return rows[rows[:, position:].prod(axis=1) % inner == 0]


def _compositions(total: int, parts: int) -> IntArray:
    """Enumerate the ways to write ``total`` as an ordered sum of ``parts`` terms >= 0."""
    done = np.zeros((1, 0), dtype=np.int64)
    left = np.array([total], dtype=np.int64)
    for _ in range(parts - 1):
        repeats = left + 1
        start = np.repeat(np.cumsum(repeats) - repeats, repeats)
        term = np.arange(len(start)) - start
        done = np.column_stack([np.repeat(done, repeats, axis=0), term])
        left = np.repeat(left, repeats) - term
    return np.column_stack([done, left])
