"""The steps of a tape in groups, so that a few configs cost a few array operations.

Step by step an array operation has n numbers, and for a few configs takes as long as for one.
Steps that do the same to values which are there already are therefore done at once, [k, n]
numbers. The values are numbered anew: those of the columns first, then a 1 that nothing reads,
then the constants, then one group after the other, each in rows that lie together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .operations import Operation
    from .tape import Step, Tape

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Number = TypeVar("Number", np.int64, np.float64)


@dataclass(frozen=True)
class Group:
    """k steps of one operation with a arguments each.

    Parameters
    ----------
    operation : Operation
    rows : slice
        Where their values go.
    arguments : int64 array [a, k]
        Where those of their arguments are.
    reads : int64 array [r, k]
        The columns each of them reads, by position among the tape's, filled up with the number of
        those.
    """

    operation: Operation
    rows: slice
    arguments: IntArray
    reads: IntArray

    def scatter(self, parts: FloatArray, total: FloatArray) -> None:
        """Add parts [a, k, n] to the rows of the arguments, [a + r, k, n] to the columns' too."""
        order, targets, starts = (
            self._with_columns if len(parts) > len(self.arguments) else self._own
        )
        flat = parts.reshape(-1, parts.shape[2]).take(order, axis=0)
        total[targets] += np.add.reduceat(flat, starts, axis=0)

    @cached_property
    def _own(self) -> tuple[IntArray, IntArray, IntArray]:
        return _by_target(self.arguments.ravel())

    @cached_property
    def _with_columns(self) -> tuple[IntArray, IntArray, IntArray]:
        return _by_target(np.concatenate([self.arguments, self.reads]).ravel())


@dataclass(frozen=True)
class Grouped:
    """A tape in groups.

    Parameters
    ----------
    n_columns : int
    constants : int64 array [c]
    groups : list of Group
        In an order in which they can be evaluated.
    wanted : int64 array [E]
        The rows of the expressions' values.
    """

    n_columns: int
    constants: IntArray
    groups: list[Group]
    wanted: IntArray

    @classmethod
    def of(cls, tape: Tape) -> Grouped:
        """Group the steps of a tape."""
        n = len(tape.columns)
        reads: list[frozenset[int]] = [frozenset({place}) for place in range(n)]
        for _, places, _ in tape.steps:
            reads.append(frozenset().union(*(reads[place] for place in places)))
        steps = {n + i: step for i, step in enumerate(tape.steps)}
        constants = [place for place, step in steps.items() if step.operation is None]
        rows = {place: place for place in range(n)}
        rows |= {place: n + 1 + i for i, place in enumerate(constants)}
        left = {place: step for place, step in steps.items() if place not in rows}
        groups = []
        while left:
            chosen = _largest(left, rows)
            first, places = len(rows) + 1, list(chosen)
            arguments = [[rows[p] for p in step.places] for step in chosen.values()]
            rows |= {place: first + i for i, place in enumerate(places)}
            groups.append(
                Group(
                    _operation(chosen[places[0]]),
                    slice(first, first + len(places)),
                    np.array(arguments, dtype=np.int64).T.copy(),
                    _filled([sorted(reads[place]) for place in places], n).T.copy(),
                )
            )
            left = {place: step for place, step in left.items() if place not in chosen}
        values = np.array([steps[place].value for place in constants], dtype=np.int64)
        return cls(n, values, groups, np.array([rows[p] for p in tape.wanted], dtype=np.int64))

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return self.n_columns + 1 + len(self.constants) + sum(len(g.reads.T) for g in self.groups)

    def begun(self, columns: NDArray[Number]) -> NDArray[Number]:
        """Rows of the type of columns [C, n], with these and the constants filled in."""
        values = np.ones((self.n_rows, columns.shape[1]), dtype=columns.dtype)
        values[: self.n_columns] = columns
        start = self.n_columns + 1
        values[start : start + len(self.constants)] = self.constants[:, None]
        return values


def _by_target(targets: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """An order in which equal targets are neighbours, each of them, and where it begins."""
    order = targets.argsort(kind="stable")
    return order, *np.unique(targets[order], return_index=True)


def _largest(left: dict[int, Step], rows: dict[int, int]) -> dict[int, Step]:
    """The most steps of one kind whose arguments are there."""
    ready: dict[tuple[Operation | None, int], dict[int, Step]] = {}
    for place, step in left.items():
        if all(p in rows for p in step.places):
            ready.setdefault((step.operation, len(step.places)), {})[place] = step
    return max(ready.values(), key=len)


def _operation(step: Step) -> Operation:
    if step.operation is None:
        raise ValueError("expected a step with an operation, got a constant")
    return step.operation


def _filled(lists: Sequence[Sequence[int]], rest: int) -> IntArray:
    most = max((len(one) for one in lists), default=0)
    return np.array([[*one, *[rest] * (most - len(one))] for one in lists], dtype=np.int64)
