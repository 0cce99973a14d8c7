"""Statements at many configs as float arrays: what the analyzers compute with.

Notation
--------
n : number of configs.
L : number of loops of a statement, outermost first; level j is as in `mschedx.space.statements`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

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
        At every level. Elements without an expression are as many as could be touched at most, a
        run without one is that of what the statement writes.
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

    @cached_property
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
    lanes, unroll, asynchronous : float64 arrays [n]
    accesses : tuple of AccessView
    """

    statement: Statement
    extents: FloatArray
    lanes: FloatArray
    unroll: FloatArray
    asynchronous: FloatArray
    accesses: tuple[AccessView, ...]

    @property
    def reads(self) -> tuple[AccessView, ...]:
        return tuple(a for a in self.accesses if not a.access.is_write)

    @property
    def writes(self) -> tuple[AccessView, ...]:
        return tuple(a for a in self.accesses if a.access.is_write)

    @cached_property
    def trips(self) -> FloatArray:
        """How often each loop runs its body, one that an intrinsic performs once: [L, n]."""
        return _trips(self.statement, self.extents)

    @cached_property
    def instances(self) -> FloatArray:
        """How often the statement runs, a call of an intrinsic being one: [n]."""
        return self.trips.prod(axis=0)

    @cached_property
    def is_inlined(self) -> bool:
        """Whether an intrinsic performs it one element a call: LLVM sees a loop over elements."""
        single = all((access.elements[-1] == 1).all() for access in self.accesses)
        return bool(self.statement.intrinsic) and single

    def kinds(self, *kinds: str) -> list[int]:
        """Positions of the loops of these kinds."""
        return [i for i, loop in enumerate(self.statement.loops) if loop.kind in kinds]


@dataclass(frozen=True)
class AllocationView:
    """An allocation at n configs.

    Parameters
    ----------
    allocation : AllocationInfo
    bytes, copies : float64 arrays [n]
        ``bytes`` is None where it has no expression; ``copies`` 1 without a software pipeline.
    shape : tuple of float64 arrays [n]
        The extents that have an expression.
    """

    allocation: AllocationInfo
    bytes: FloatArray | None
    copies: FloatArray
    shape: tuple[FloatArray, ...]


@dataclass(frozen=True)
class ProgramAt:
    """A program at n configs.

    Parameters
    ----------
    statements : list of StatementView
    allocations : list of AllocationView
    count : int
        n.
    """

    statements: list[StatementView]
    allocations: list[AllocationView]
    count: int


@dataclass(frozen=True)
class _Places:
    """Where the values of expressions are, ``missing`` telling which of them there are not."""

    rows: IntArray
    missing: IntArray

    def of(self, values: FloatArray) -> FloatArray:
        """Take them out of all values [E, n], NaN where there are none."""
        if len(self.missing) == len(self.rows):
            return np.full((len(self.rows), values.shape[1]), np.nan)
        found = values[self.rows]
        found[self.missing] = np.nan
        return found


@dataclass(frozen=True)
class _Plan:
    """A statement and where its numbers are: of each access its elements, runs and strides."""

    statement: Statement
    extents: _Places
    accesses: tuple[tuple[BufferAccess, _Places, _Places, _Places], ...]


class ProgramView:
    """The statements of a sketch, ready to be evaluated at many configs.

    Parameters
    ----------
    statements : sequence of Statement
    allocations : sequence of AllocationInfo
    lattice : mapping of int to sequence of int, optional
        The values that decisions can take, by column, see `Tape`; only `relaxed` needs them.

    Attributes
    ----------
    unknown : dict of str to str
        Statements that have a number without an expression, with its name; they are left out.
    varying : list of int
        The columns of the decisions that anything here hangs on.
    """

    def __init__(
        self,
        statements: Sequence[Statement],
        allocations: Sequence[AllocationInfo],
        lattice: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        self.unknown: dict[str, str] = {}
        self.allocations = list(allocations)
        self._sizes = {one.buffer: one.bytes for one in allocations}
        self._allocated = {one.buffer for one in allocations}
        self.statements = [s for s in statements if self._is_known(s)]
        wanted = [e for s in self.statements for e in self._expressions(s)]
        wanted += [e for one in self.allocations for e in (one.bytes, one.copies, *one.shape)]
        self._formulas = list(dict.fromkeys(e for e in wanted if e is not None))
        self._rows = {expression: row for row, expression in enumerate(self._formulas)}
        self._tape = Tape(self._formulas, lattice)
        self._plans = [self._plan(statement) for statement in self.statements]
        # What has one value only, such as the factors of a loop of 1, moves nothing.
        self.varying = [c for c in self._tape.columns if len(self._tape.lattice.get(c, (1, 2))) > 1]

    def __call__(self, configs: IntArray) -> ProgramAt:
        """Evaluate exactly on configs [n, D]."""
        return self._at(self._tape(configs).astype(np.float64), len(configs))

    def relaxed(self, configs: FloatArray, width: float) -> ProgramAt:
        """Evaluate on real-valued configs [n, D], see `Tape.relaxed`."""
        import torch

        with torch.no_grad():
            values = self._tape.relaxed(torch.from_numpy(configs), width).numpy()
        return self._at(values, len(configs))

    def _at(self, values: FloatArray, n: int) -> ProgramAt:
        statements = [self._view(plan, values, n) for plan in self._plans]
        return ProgramAt(statements, [self._sized(a, values, n) for a in self.allocations], n)

    def _sized(self, one: AllocationInfo, values: FloatArray, n: int) -> AllocationView:
        size = None if one.bytes is None else self._value(one.bytes, values, n, np.nan)
        shape = tuple(self._value(e, values, n, np.nan) for e in one.shape if e is not None)
        return AllocationView(one, size, self._value(one.copies, values, n, 1.0), shape)

    def _is_known(self, statement: Statement) -> bool:
        missing = statement.missing(every_level=False)
        if missing is not None:
            self.unknown[statement.name] = missing
        return missing is None

    def _expressions(self, statement: Statement) -> list[Expression | None]:
        found = [loop.extent for loop in statement.loops]
        found += [statement.lanes, statement.unroll, statement.asynchronous]
        for access in statement.accesses:
            found += [*access.elements, *access.runs, *access.strides]
            found.append(self._sizes.get(access.buffer))
        return found

    def _plan(self, statement: Statement) -> _Plan:
        accesses = [
            (
                access,
                self._places(access.elements),
                self._places(access.runs),
                self._places(access.strides),
            )
            for access in statement.accesses
        ]
        extents = self._places([loop.extent for loop in statement.loops])
        return _Plan(statement, extents, tuple(accesses))

    def _places(self, expressions: Sequence[Expression | None]) -> _Places:
        rows = [0 if e is None else self._rows[e] for e in expressions]
        missing = np.flatnonzero([e is None for e in expressions])
        return _Places(np.array(rows, dtype=np.int64), missing)

    def _view(self, plan: _Plan, values: FloatArray, n: int) -> StatementView:
        statement, extents = plan.statement, plan.extents.of(values)
        runs = [run.of(values) for _, _, run, _ in plan.accesses]
        written = [r for r, a in zip(runs, statement.accesses, strict=True) if a.is_write]
        accesses = []
        for (access, element, row, stride), run in zip(plan.accesses, runs, strict=True):
            elements = element.of(values)
            if len(element.missing):
                elements = _at_most(elements, _trips(statement, extents))
            if len(row.missing):
                like = written[0] if len(written) == 1 else np.ones_like(run)
                run = np.where(np.isnan(run), like, run)
            accesses.append(
                AccessView(
                    access,
                    elements,
                    np.fmin(np.fmax(run, 1.0), elements),
                    stride.of(values),
                    self._value(self._sizes.get(access.buffer), values, n, np.inf),
                )
            )
        return StatementView(
            statement,
            extents,
            self._value(statement.lanes, values, n, 1.0),
            self._value(statement.unroll, values, n, 0.0),
            self._value(statement.asynchronous, values, n, 0.0),
            tuple(accesses),
        )

    def _value(
        self, expression: Expression | None, values: FloatArray, n: int, missing: float
    ) -> FloatArray:
        if expression is None:
            return np.full(n, missing)
        return values[self._rows[expression]]


def _trips(statement: Statement, extents: FloatArray) -> FloatArray:
    """`StatementView.trips` of extents [L, n]."""
    performed = np.array([loop.kind == "intrinsic" for loop in statement.loops], dtype=bool)
    return np.where(performed[:, None], 1.0, extents)


def _at_most(elements: FloatArray, trips: FloatArray) -> FloatArray:
    """Fill what is unknown of the elements touched at every level [L + 1, n], trips [L, n].

    No level touches more than its instances do one by one, nor than the level around it.
    """
    inside = np.cumprod(np.vstack([trips, np.ones((1, elements.shape[1]))])[::-1], axis=0)[::-1]
    filled = np.where(np.isnan(elements), elements[-1] * inside, elements)
    return np.where(np.isnan(elements), np.minimum.accumulate(filled, axis=0), filled)
