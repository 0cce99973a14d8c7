"""Exact counting and uniform sampling by joining tables on what constraints still need.

Two relations are joined by pairing their states, dropping the pairs that break a constraint (or
that no row of the remaining tables can save), and merging pairs whose slots are equal. Counts are
exact, for nothing is approximated; sampling walks back from the final state through pairs, weighted
by their counts, down to rows, hence is exactly uniform.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .counted_states import (
    MAX_INT64,
    CountedStates,
    Leaf,
    Pairs,
    make_leaf,
    make_pairs,
    pairs_between,
)
from .partial_evaluation import Graph, Values, holds

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

MAX_PAIRS = 1 << 23
"""Most pairs of states that one join looks at."""

_CHUNK = 1 << 18
# Settled conditions are flagged in the bits of an int64.
_MAX_FLAGS = 62


class TooManyStates(Exception):
    """A join would look at too many pairs; ``conditions`` are those that couple its two sides."""

    def __init__(self, pairs: int, conditions: Sequence[int]) -> None:
        super().__init__(f"a join of {pairs} pairs of states, more than {MAX_PAIRS}")
        self.conditions = tuple(conditions)


JoinOrder = tuple[tuple[int, int], ...]
"""Which relations to join, as positions in a growing list that starts with the leaves."""


class Joiner:
    """Joins tables under a set of conditions.

    Parameters
    ----------
    graph : Graph
        Holds the conditions.
    active : iterable of int
        Which of the graph's conditions to enforce.
    tables : sequence of (columns, rows)
        Columns as a tuple, rows int64 [r, len(columns)].
    groups : sequence of int64 array [r], optional
        Per table, which of several independent problems each row belongs to; one when None.
    """

    def __init__(
        self,
        graph: Graph,
        active: Iterable[int],
        tables: Sequence[tuple[tuple[int, ...], IntArray]],
        groups: Sequence[IntArray] | None = None,
    ) -> None:
        self._graph = graph
        self._active = sorted(active)
        self._atoms = [graph.atoms(*table) for table in tables]
        self._keep = [np.ones(len(rows), dtype=bool) for _, rows in tables]
        self._groups = groups or [np.zeros(len(rows), dtype=np.int64) for _, rows in tables]

    def run(self, plan: JoinOrder | None = None) -> tuple[list[CountedStates], JoinOrder]:
        """Join until no condition is left between relations.

        Parameters
        ----------
        plan : JoinOrder, optional
            The order of an earlier run with other rows; found greedily when None.

        Returns
        -------
        relations : list
            One per independent set of tables, with one state, or none when nothing is valid.
        plan : JoinOrder

        Raises
        ------
        TooManyStates
        """
        self._propagate()
        self._dtype = self._dtype_of_counts()
        relations: list[CountedStates] = [self._leaf(table) for table in range(len(self._keep))]
        alive = list(range(len(relations)))
        steps: list[tuple[int, int]] = []
        while True:
            if plan is None:
                step = self._cheapest(relations, alive)
            else:
                step = plan[len(steps)] if len(steps) < len(plan) else None
            if step is None:
                return [relations[i] for i in alive], tuple(steps)
            relations.append(self._join(relations[step[0]], relations[step[1]]))
            alive = [i for i in alive if i not in step] + [len(relations) - 1]
            steps.append(step)

    def _dtype_of_counts(self) -> Any:
        """What holds the number of all combinations of the rows that are kept."""
        kept = [own[keep] for own, keep in zip(self._groups, self._keep)]
        most = [int(np.bincount(own).max(initial=1)) for own in kept]
        problems = max((int(own.max(initial=0)) + 1 for own in kept), default=1)
        return np.int64 if math.prod(most) * problems < MAX_INT64 else object

    def _propagate(self, rounds: int = 4) -> None:
        """Drop rows that break a condition whatever the other tables bring."""
        conditions = self._graph.conditions
        for i in self._active:
            condition = conditions[i]
            if len(condition.tables) < 2:
                keep = self._holds(i, Values(*((atoms, None) for atoms in self._atoms)), ())
                for table in condition.tables or range(len(self._keep)):
                    self._keep[table] = self._keep[table] & keep
        for _ in range(rounds):
            self._ranges = self._graph.ranges(self._atoms, self._keep)
            before = [int(keep.sum()) for keep in self._keep]
            if not all(before):
                return
            for i in self._active:
                for table in conditions[i].tables:
                    possible, _ = self._judge(i, self._atoms[table])
                    self._keep[table] = self._keep[table] & possible
            if before == [int(keep.sum()) for keep in self._keep]:
                return

    def _judge(self, i: int, known: Mapping[int, IntArray]) -> tuple[Any, Any]:
        """Say where condition ``i`` may hold yet, and where it must; bool [n] or scalars."""
        condition = self._graph.conditions[i]
        left = self._graph.bounds(condition.left, known, self._ranges)
        right = self._graph.bounds(condition.right, known, self._ranges)
        return condition.judge(left, right)

    def _holds(self, i: int, values: Values, sides: Sequence[frozenset[int]]) -> Any:
        condition = self._graph.conditions[i]
        left = self._graph.evaluate(condition.left, values, sides)
        right = self._graph.evaluate(condition.right, values, sides)
        return holds(condition.relation, left, right)

    def _live(self, tables: frozenset[int]) -> list[int]:
        """List the active conditions that read some of ``tables`` and some others."""
        conditions = self._graph.conditions
        return [
            i
            for i in self._active
            if conditions[i].tables & tables and not conditions[i].tables <= tables
        ]

    def _leaf(self, table: int) -> Leaf:
        rows = np.flatnonzero(self._keep[table])
        tables = frozenset({table})
        values = Values((self._atoms[table], rows))
        flags = np.zeros(len(rows), dtype=np.int64)
        slots, matrix, flags, keep = self._summarise(tables, (tables,), values, flags)
        states = matrix[keep], flags[keep], self._groups[table][rows][keep]
        return make_leaf(table, rows[keep], slots, states, self._dtype)

    def _summarise(
        self,
        tables: frozenset[int],
        sides: Sequence[frozenset[int]],
        values: Values,
        flags: IntArray,
    ) -> tuple[dict[int, int], IntArray, IntArray, BoolArray]:
        """Compute the slots of ``tables``, prune what cannot become valid, flag what is settled.

        Returns
        -------
        slots : dict of int to int
        matrix : int64 array [n, w]
        flags : int64 array [n]
        keep : bool array [n]
            False where some condition cannot hold any more.
        """
        live = self._live(tables)
        users = self._graph.slots([self._graph.conditions[i] for i in live], tables)
        slots = {slot: column for column, slot in enumerate(users)}
        matrix = np.empty((len(flags), len(slots)), dtype=np.int64)
        for slot, column in slots.items():
            matrix[:, column] = self._graph.evaluate(slot, values, sides)
        known = {slot: matrix[:, column] for slot, column in slots.items()}
        keep = np.ones(len(flags), dtype=bool)
        settled: list[Any] = []
        fresh = np.zeros_like(flags)
        for i in live:
            possible, certain = self._judge(i, known)
            done = self._flag(i, flags)
            bit = self._bit(i)
            if bit:
                done = done | certain
                fresh |= np.where(done, bit, np.int64(0))
            keep &= possible | done
            settled.append(done)
        for slot, column in slots.items():
            idle = np.ones(len(flags), dtype=bool)
            for position in users[slot]:
                idle &= settled[position]
            matrix[idle, column] = 1
        return slots, matrix, fresh, keep

    def _bit(self, i: int) -> np.int64:
        position = self._active.index(i)
        return np.int64(1 << position) if position < _MAX_FLAGS else np.int64(0)

    def _flag(self, i: int, flags: IntArray) -> BoolArray:
        return (flags & self._bit(i)) != 0

    def _cheapest(self, relations: list[CountedStates], alive: list[int]) -> tuple[int, int] | None:
        """Choose two relations that share a condition and whose join is small."""
        best, choice = np.inf, None
        for position, a in enumerate(alive):
            for b in alive[position + 1 :]:
                left, right = relations[a], relations[b]
                shared = set(self._live(left.tables)) & set(self._live(right.tables))
                if not shared:
                    continue
                union = left.tables | right.tables
                live = [self._graph.conditions[i] for i in self._live(union)]
                width = len(self._graph.slots(live, union))
                saved = len(left.slots) + len(right.slots) - width
                cost = len(left) * len(right) / 4.0**saved
                if cost < best:
                    best, choice = cost, (a, b)
        return choice

    def _join(self, left: CountedStates, right: CountedStates) -> Pairs:
        tables, sides = left.tables | right.tables, (left.tables, right.tables)
        finished = [
            i for i in self._live(left.tables) if self._graph.conditions[i].tables <= tables
        ]
        ends, starts, widths = pairs_between(left, right)
        total = int(ends[-1]) if len(ends) else 0
        if total > MAX_PAIRS:
            shared = set(self._live(left.tables)) & set(self._live(right.tables))
            raise TooManyStates(total, sorted(shared))
        columns = [
            {slot: side.values[:, column] for slot, column in side.slots.items()}
            for side in (left, right)
        ]
        pieces = []
        slots: dict[int, int] = {}
        for start in range(0, max(total, 1), _CHUNK):
            number = np.arange(start, min(start + _CHUNK, total))
            group = np.searchsorted(ends, number, side="right")
            within = number - np.append(0, ends)[group]
            first = starts[group, 0] + within // widths[group]
            second = starts[group, 1] + within % widths[group]
            flags = left.flags[first] | right.flags[second]
            for i in finished:
                values = Values((columns[0], first), (columns[1], second))
                keep = self._holds(i, values, sides) | self._flag(i, flags)
                first, second, flags = first[keep], second[keep], flags[keep]
            values = Values((columns[0], first), (columns[1], second))
            slots, matrix, flags, keep = self._summarise(tables, sides, values, flags)
            pieces.append((first[keep], second[keep], matrix[keep], flags[keep]))
        first, second, matrix, flags = (np.concatenate(parts) for parts in zip(*pieces))
        states = matrix, flags, left.groups[first]
        return make_pairs((left, right), (first, second), slots, states)
