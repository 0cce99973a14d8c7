"""What Felix's features read of a sketch: its numbers as rows of one tape, and what is fixed.

Notation
--------
S : statements that are fully known; K : their slots, all statements' after one another.
L : most loops of a statement; those with fewer have loops of extent 1 after them, which change
    nothing, for a unit loop counts nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mschedx.space.algebra.expression import Expression, add, constant, multiply
from mschedx.space.statements import BufferAccess, Statement, known

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

MOST_SLOTS = 5
"""Slots of a statement, the first by name."""

_ZERO, _ONE = constant(0), constant(1)


@dataclass(frozen=True)
class Slot:
    """What a statement does with one region of a buffer.

    Parameters
    ----------
    statement : int
        Position of the statement among those that are known.
    access : BufferAccess
    reads, writes : bool
    """

    statement: int
    access: BufferAccess
    reads: bool
    writes: bool


class Rows:
    """Distinct expressions, and where each is."""

    def __init__(self) -> None:
        self.expressions: list[Expression] = []
        self._places: dict[Expression, int] = {}

    def __call__(self, expression: Expression) -> int:
        """The row of an expression, a new one if need be."""
        if expression not in self._places:
            self._places[expression] = len(self.expressions)
            self.expressions.append(expression)
        return self._places[expression]

    def of(self, expressions: Sequence[Expression], length: int, rest: Expression) -> list[int]:
        """The rows of expressions, filled up to a length."""
        every = [*expressions, *[rest] * (length - len(expressions))]
        return [self(expression) for expression in every]


def slots_of(position: int, statement: Statement) -> list[Slot]:
    """The slots of a statement in the order of names.

    A region that is read and written is one slot; two regions of a buffer are two, for the size of
    their union is not known.
    """
    found: dict[tuple[str, tuple[Expression | None, ...]], Slot] = {}
    for access in statement.accesses:
        place = (access.buffer, access.elements)
        known = found.get(place, Slot(position, access, False, False))
        found[place] = Slot(
            position,
            known.access,
            known.reads or not access.is_write,
            known.writes or access.is_write,
        )
    return sorted(found.values(), key=lambda slot: slot.access.buffer)[:MOST_SLOTS]


def shared_loops(a: Statement, b: Statement) -> int:
    """How many outermost loops two statements are in together."""
    if a is b:
        return len(a.loops)
    if a.kernel is None or a.kernel != b.kernel:
        return 0
    count = 0
    for one, other in zip(a.loops, b.loops):
        if (one.name, one.extent, one.thread) != (other.name, other.extent, other.thread):
            break
        count += 1
    return count


def stays(access: BufferAccess, level: int) -> bool:
    """Whether an access touches the same elements in every iteration of a loop."""
    stride = access.strides[level]
    if stride is None:
        return access.elements[level] == access.elements[level + 1]
    return stride == _ZERO


def bytes_inside(statements: Sequence[Statement], level: int) -> Expression:
    """Bytes that statements touch at a level, a buffer of a statement counted once."""
    total: list[Expression] = [_ZERO]
    for statement in statements:
        once = {access.buffer: access for access in statement.accesses}
        total += [known(access.bytes_at(level)) for access in once.values()]
    return add(*total)


@dataclass(frozen=True)
class SlotTable:
    """Rows and facts of the K slots.

    Parameters
    ----------
    statement : int64 array [K]
    first, last, run : int64 arrays [K]
        Rows: elements in the whole program and in one instance, neighbours among the first.
    stride : int64 array [K, L]
    stays, serial : bool arrays [K, L]
        Of each loop: whether the access stays where it is; whether an earlier statement in the
        same loop writes the buffer.
    iterations, distance : int64 arrays [K, L]
        Rows: within one iteration of a loop, how often the statement runs and how many bytes it
        touches; where the access does not stay, how often the last statement runs that wrote the
        buffer, and how many bytes all statements of the loop touch.
    element_bytes : int64 array [K]
    lines_known : bool array [K]
        Whether strides are known wherever the access moves.
    """

    statement: IntArray
    first: IntArray
    last: IntArray
    run: IntArray
    stride: IntArray
    stays: BoolArray
    serial: BoolArray
    iterations: IntArray
    distance: IntArray
    element_bytes: IntArray
    lines_known: BoolArray

    @classmethod
    def of(
        cls, slots: Sequence[Slot], statements: Sequence[Statement], rows: Rows, depth: int
    ) -> SlotTable:
        """Look up the rows of slots."""
        lines = [_SlotRow.of(slot, statements, rows, depth) for slot in slots]

        def column(name: str, shape: tuple[int, ...], kind: type) -> NDArray:
            return np.array([getattr(line, name) for line in lines], dtype=kind).reshape(shape)

        k = len(slots)
        ints = {name: column(name, (k,), np.int64) for name in ("first", "last", "run")}
        wide = {n: column(n, (k, depth), np.int64) for n in ("stride", "iterations", "distance")}
        flags = {n: column(n, (k, depth), bool) for n in ("stays", "serial", "stride_known")}
        moves_known = np.all(flags.pop("stride_known") | flags["stays"], axis=1)
        return cls(
            statement=np.array([slot.statement for slot in slots], dtype=np.int64),
            element_bytes=np.array([s.access.element_bytes for s in slots], dtype=np.int64),
            lines_known=np.asarray(moves_known, dtype=bool),
            **ints,
            **wide,
            **flags,
        )


@dataclass(frozen=True)
class _SlotRow:
    first: int
    last: int
    run: int
    stride: list[int]
    stays: list[bool]
    serial: list[bool]
    stride_known: list[bool]
    iterations: list[int]
    distance: list[int]

    @classmethod
    def of(cls, slot: Slot, statements: Sequence[Statement], rows: Rows, depth: int) -> _SlotRow:
        access, own = slot.access, statements[slot.statement]
        loops = range(len(own.loops))
        rest = depth - len(own.loops)
        writer = _writer_before(slot, statements)
        common = 0 if writer is None else shared_loops(writer, own)
        fixed = [stays(access, level) for level in loops]
        iterations, distance = [], []
        for level in loops:
            again = own if fixed[level] or writer is None or level >= common else writer
            iterations.append(_trips(again, level + 1))
            together = [s for s in statements if shared_loops(s, own) > level]
            distance.append(bytes_inside([own] if fixed[level] else together, level + 1))
        strides = [access.strides[level] for level in loops]
        return cls(
            first=rows(known(access.elements[0])),
            last=rows(known(access.elements[-1])),
            run=rows(access.runs[0] or _ONE),
            stride=rows.of([_ZERO if s is None else s for s in strides], depth, _ZERO),
            stays=fixed + [True] * rest,
            serial=[level < common for level in loops] + [False] * rest,
            stride_known=[s is not None for s in strides] + [True] * rest,
            iterations=rows.of(iterations, depth, _ONE),
            distance=rows.of(distance, depth, _ONE),
        )


def _writer_before(slot: Slot, statements: Sequence[Statement]) -> Statement | None:
    """The last statement before a slot's own that writes its buffer."""
    for statement in reversed(statements[: slot.statement]):
        if any(write.buffer == slot.access.buffer for write in statement.writes):
            return statement
    return None


def allocation_depths(statements: Sequence[Statement]) -> Mapping[str, int]:
    """Loops around the place where lowering allocates a buffer: those of all who touch it."""
    users: dict[str, list[Statement]] = {}
    for statement in statements:
        for buffer in {access.buffer for access in statement.accesses}:
            users.setdefault(buffer, []).append(statement)
    return {
        buffer: min(shared_loops(some[0], other) for other in some) if len(some) > 1 else 0
        for buffer, some in users.items()
    }


def _trips(statement: Statement, start: int) -> Expression:
    return known(statement.trips(start, len(statement.loops)))


def product(expressions: Sequence[Expression | None]) -> Expression:
    """Multiply expressions that are all known; 1 of none."""
    return multiply(1, *(known(expression) for expression in expressions))
