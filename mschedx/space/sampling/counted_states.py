"""Relations: distinct states of sets of tables, with exact counts, from which rows can be drawn.

A relation holds the distinct *states* of a set of tables, what constraints not yet decided need to
know of them, and how many combinations of rows have each state. Several problems can be held side
by side: each state belongs to a *group*, and states of different groups never meet.

Notation
--------
s : number of states of a relation.
w : number of slots (see :mod:`.partial_evaluation`).
p : number of pairs of a join.
n : number of draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Counts = NDArray[Any]
"""Exact counts: int64, or Python integers where int64 could overflow."""

MAX_INT64 = 1 << 62
"""Counts below this are added and multiplied as int64."""

_MULTIPLIERS = np.random.default_rng(0x5EED).integers(1, 1 << 63, 256, dtype=np.uint64) | 1


@dataclass(eq=False)
class States:
    """The states of a relation; the base of :class:`Leaf` and :class:`Pairs`.

    Parameters
    ----------
    tables : frozenset of int
    slots : dict of int to int
        Slot to its column in ``values``.
    values : int64 array [s, w]
    flags : int64 array [s]
        Bit ``i`` is set where condition ``i`` holds whatever the remaining tables bring.
    groups : int64 array [s]
        Ascending.
    counts : integer array [s]
        How many combinations of rows have this state.
    """

    tables: frozenset[int]
    slots: dict[int, int]
    values: IntArray
    flags: IntArray
    groups: IntArray
    counts: Counts

    def __len__(self) -> int:
        return len(self.values)


@dataclass(eq=False)
class Leaf(States):
    """One table's rows by state: ``order[starts[i] : starts[i] + counts[i]]`` are state ``i``'s."""

    order: IntArray
    starts: IntArray

    numbered = True
    """Whether combinations can be taken by number, see :meth:`pick`."""

    def draw(self, states: IntArray, rng: np.random.Generator, rows: dict[int, IntArray]) -> None:
        """Draw a row for each of ``states`` [n]; adds table to row numbers [n] to ``rows``."""
        self.pick(states, rng.integers(0, self.counts.astype(np.int64)[states]), rows)

    def pick(self, states: IntArray, index: IntArray, rows: dict[int, IntArray]) -> None:
        """Take the ``index``-th [n] row of each of ``states`` [n]."""
        (table,) = self.tables
        rows[table] = self.order[self.starts[states] + index]


@dataclass(eq=False)
class Pairs(States):
    """A join: pairs of states of two relations, sorted by their common state.

    ``cumulative`` [p] are running sums of the pairs' weights, ``before`` [s] what they are before
    a state's first pair, and ``last`` [s] is its last one. Where int64 could overflow they are
    float64: a state's number, and which share of its weight comes up to a pair.
    """

    left: Leaf | Pairs
    right: Leaf | Pairs
    pairs: tuple[IntArray, IntArray]
    cumulative: NDArray[Any]
    before: NDArray[Any]
    last: IntArray

    @property
    def numbered(self) -> bool:
        """Whether combinations can be taken by number, see :meth:`pick`."""
        return self.cumulative.dtype == np.int64 and self.left.numbered and self.right.numbered

    def draw(self, states: IntArray, rng: np.random.Generator, rows: dict[int, IntArray]) -> None:
        """Draw a row of every table for each of ``states`` [n]; see :meth:`Leaf.draw`."""
        if self.cumulative.dtype == np.int64:
            share = rng.integers(0, self.counts[states].astype(np.int64))
        else:
            share = rng.random(len(states))
        chosen = np.searchsorted(self.cumulative, self.before[states] + share, side="right")
        # Only floating point can round past a state's last pair.
        chosen = np.minimum(chosen, self.last[states])
        self.left.draw(self.pairs[0][chosen], rng, rows)
        self.right.draw(self.pairs[1][chosen], rng, rows)

    def pick(self, states: IntArray, index: IntArray, rows: dict[int, IntArray]) -> None:
        """Take the ``index``-th [n] combination of rows of each of ``states`` [n]."""
        if self.cumulative.dtype != np.int64:
            raise ValueError("too many combinations to go through one by one")
        target = self.before[states] + index
        chosen = np.searchsorted(self.cumulative, target, side="right")
        left, right = self.pairs[0][chosen], self.pairs[1][chosen]
        rest = target - np.append(np.int64(0), self.cumulative)[chosen]
        size = self.left.counts[left].astype(np.int64)
        self.left.pick(left, rest % size, rows)
        self.right.pick(right, rest // size, rows)


CountedStates = Leaf | Pairs


def make_leaf(
    table: int,
    rows: IntArray,
    slots: dict[int, int],
    states: tuple[IntArray, IntArray, IntArray],
    dtype: Any,
) -> Leaf:
    """Group the given row numbers [r] of a table by values, flags and groups, all by row."""
    matrix, flags, groups = states
    order, starts = group_rows(matrix, flags, groups)
    lead = order[starts]
    counts = np.diff(np.append(starts, len(rows))).astype(dtype)
    tables = frozenset({table})
    return Leaf(tables, slots, matrix[lead], flags[lead], groups[lead], counts, rows[order], starts)


def make_pairs(
    sides: tuple[CountedStates, CountedStates],
    pairs: tuple[IntArray, IntArray],
    slots: dict[int, int],
    states: tuple[IntArray, IntArray, IntArray],
) -> Pairs:
    """Group pairs of states [p] by values, flags and groups, all by pair."""
    left, right = sides
    matrix, flags, groups = states
    order, starts = group_rows(matrix, flags, groups)
    lead = order[starts]
    first, second = pairs[0][order], pairs[1][order]
    weights = left.counts[first] * right.counts[second]
    counts = np.add.reduceat(weights, starts) if len(starts) else weights
    cumulative = np.cumsum(weights)
    before = cumulative[starts] - weights[starts]
    last = np.append(starts[1:], len(weights))[: len(starts)] - 1
    if weights.dtype == object and int(cumulative[-1:].sum()) < MAX_INT64:
        cumulative, before = cumulative.astype(np.int64), before.astype(np.int64)
    elif weights.dtype == object:
        number = np.repeat(np.arange(len(starts)), last - starts + 1)
        share = (cumulative - before[number]) / counts[number]
        cumulative = number + share.astype(np.float64)
        before = np.arange(len(starts), dtype=np.float64)
    return Pairs(
        left.tables | right.tables,
        slots,
        matrix[lead],
        flags[lead],
        groups[lead],
        counts,
        left,
        right,
        (first, second),
        cumulative,
        before,
        last,
    )


def pairs_between(left: States, right: States) -> tuple[IntArray, IntArray, IntArray]:
    """Lay out the pairs of states within groups.

    Returns
    -------
    ends : int64 array [g]
        Running number of pairs by common group; the last one is their total.
    starts : int64 array [g, 2]
        The group's first state on either side.
    widths : int64 array [g]
        The group's number of states on the right.
    """
    common = np.intersect1d(left.groups, right.groups)
    lower = [np.searchsorted(side.groups, common, "left") for side in (left, right)]
    upper = [np.searchsorted(side.groups, common, "right") for side in (left, right)]
    sizes = [high - low for low, high in zip(lower, upper)]
    return np.cumsum(sizes[0] * sizes[1]), np.column_stack(lower), sizes[1]


def group_rows(matrix: IntArray, flags: IntArray, groups: IntArray) -> tuple[IntArray, IntArray]:
    """Sort equal rows together, by group first.

    Parameters
    ----------
    matrix : int64 array [n, w]
    flags, groups : int64 array [n]
        Two more columns.

    Returns
    -------
    order : int64 array [n]
        Row numbers with equal rows adjacent.
    starts : int64 array [s]
        Where in ``order`` each of the ``s`` distinct rows begins.
    """
    varying = [c for c in (*matrix.T, flags) if len(c) and (c != c[0]).any()]
    several = len(groups) > 0 and groups.min() != groups.max()
    for attempt in range(4):
        key = np.zeros(len(flags), dtype=np.uint64)
        for column, multiplier in zip(varying, _MULTIPLIERS[attempt * 64 :]):
            # The shift lets high bits reach low ones between the columns.
            key ^= key >> np.uint64(29)
            key = key * _MULTIPLIERS[-1] + column.view(np.uint64) * multiplier
        order = np.lexsort((key, groups)) if several else np.argsort(key, kind="stable")
        fresh = np.ones(len(order), dtype=bool)
        fresh[1:] = key[order][1:] != key[order][:-1]
        if several:
            fresh[1:] |= groups[order][1:] != groups[order][:-1]
        starts = np.flatnonzero(fresh)
        lead = order[starts][np.cumsum(fresh) - 1]
        # Equal keys are nearly surely equal rows; look, for counts must be exact.
        if all((column[order] == column[lead]).all() for column in varying):
            return order, starts
    raise AssertionError("64-bit hashes collided four times in a row")
