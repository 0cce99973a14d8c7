"""Statements at many configs as float arrays: what the analyzers compute with.

Notation
--------
n : number of configs.
L : number of loops of a statement, outermost first; level j is as in `mschedx.space.statements`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mschedx.space.algebra.expression import Expression
from mschedx.space.algebra.tape import Tape
from mschedx.space.analysis.model import AllocationInfo
from mschedx.space.statements import BufferAccess, Statement

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class AccessView:
    """An access at n configs.

    Parameters
    ----------
    access : BufferAccess
    elements, runs : float64 arrays [L + 1, n]
        At every level.
    strides : float64 array [L, n]
        NaN where a stride is not known.
    allocated_bytes : float64 array [n]
        What the buffer takes as allocated; ``inf`` for a parameter, or where that is not known.
    """

    access: BufferAccess
    elements: FloatArray
    runs: FloatArray
    strides: FloatArray
    allocated_bytes: FloatArray

    @property
    def bytes(self) -> FloatArray:
        """Distinct bytes touched at every level, no more than the buffer takes: [L + 1, n]."""
        return np.minimum(self.elements * self.access.element_bytes, self.allocated_bytes)


@dataclass(frozen=True)
class StatementView:
    """A statement at n configs.

    Parameters
    ----------
    statement : Statement
    extents : float64 array [L, n]
    lanes, unroll : float64 arrays [n]
    accesses : tuple of AccessView
    """

    statement: Statement
    extents: FloatArray
    lanes: FloatArray
    unroll: FloatArray
    accesses: tuple[AccessView, ...]

    @property
    def reads(self) -> tuple[AccessView, ...]:
        return tuple(a for a in self.accesses if not a.access.is_write)

    @property
    def writes(self) -> tuple[AccessView, ...]:
        return tuple(a for a in self.accesses if a.access.is_write)

    def kinds(self, *kinds: str) -> list[int]:
        """Positions of the loops of these kinds."""
        return [i for i, loop in enumerate(self.statement.loops) if loop.kind in kinds]


class ProgramView:
    """The statements of a sketch, ready to be evaluated at many configs.

    Parameters
    ----------
    statements : sequence of Statement
    allocations : sequence of AllocationInfo

    Attributes
    ----------
    unknown : dict of str to str
        Statements that have a number without an expression, with its name; they are left out.
    """

    def __init__(
        self, statements: Sequence[Statement], allocations: Sequence[AllocationInfo]
    ) -> None:
        self.unknown: dict[str, str] = {}
        self._sizes = {one.buffer: one.bytes for one in allocations}
        self._allocated = {one.buffer for one in allocations}
        self.statements = [s for s in statements if self._is_known(s)]
        wanted = [e for s in self.statements for e in self._expressions(s) if e is not None]
        self._formulas = list(dict.fromkeys(wanted))
        self._rows = {expression: row for row, expression in enumerate(self._formulas)}
        self._tape = Tape(self._formulas)

    def __call__(self, configs: IntArray) -> list[StatementView]:
        """Evaluate on configs [n, D]."""
        values = self._tape(configs).astype(np.float64)
        return [self._view(statement, values, len(configs)) for statement in self.statements]

    def _is_known(self, statement: Statement) -> bool:
        needed = {loop.name: loop.extent for loop in statement.loops}
        needed |= {"lanes": statement.lanes, "unroll": statement.unroll or 0}
        for access in statement.accesses:
            for level, elements in enumerate(access.elements):
                needed[f"{access.buffer} at level {level}"] = elements
        missing = [name for name, expression in needed.items() if expression is None]
        if missing:
            self.unknown[statement.name] = missing[0]
        return not missing

    def _expressions(self, statement: Statement) -> list[Expression | None]:
        found = [loop.extent for loop in statement.loops]
        found += [statement.lanes, statement.unroll]
        for access in statement.accesses:
            found += [*access.elements, *access.runs, *access.strides]
            found.append(self._sizes.get(access.buffer))
        return found

    def _view(self, statement: Statement, values: FloatArray, n: int) -> StatementView:
        def rows(expressions: Sequence[Expression | None], missing: float) -> FloatArray:
            if not expressions:
                return np.empty((0, n))
            return np.stack([self._value(e, values, n, missing) for e in expressions])

        accesses = []
        for access in statement.accesses:
            elements = rows(access.elements, np.nan)
            accesses.append(
                AccessView(
                    access,
                    elements,
                    np.fmin(rows(access.runs, 1.0), elements),
                    rows(access.strides, np.nan),
                    self._value(self._sizes.get(access.buffer), values, n, np.inf),
                )
            )
        return StatementView(
            statement,
            rows([loop.extent for loop in statement.loops], np.nan),
            self._value(statement.lanes, values, n, 1.0),
            self._value(statement.unroll, values, n, 0.0),
            tuple(accesses),
        )

    def _value(
        self, expression: Expression | None, values: FloatArray, n: int, missing: float
    ) -> FloatArray:
        if expression is None:
            return np.full(n, missing)
        return values[self._rows[expression]]
