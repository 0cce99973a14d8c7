"""Programs as arrays for learned models: a row per statement, and a row per access in its order.

Notation
--------
n : number of configs.
S : number of statements of the sketch that are fully known.
F : number of columns of a statement, the same for every sketch (`STATEMENT_NAMES`).
R : number of accesses given, at most `MOST_ROWS`.
G : number of columns of an access (`ACCESS_NAMES`).
E : number of distinct expressions among the columns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mschedx.space.algebra.expression import Expression, constant
from mschedx.space.algebra.tape import Tape
from mschedx.space.statements import BufferAccess, Statement

from ..per_sketch import PerSketch
from .columns import Column, access_columns, context_columns, statement_columns
from .dataflow_pattern import PATTERN, as_executed, first_match

if TYPE_CHECKING:
    import torch

    from mschedx.space.sketch import Sketch

IntArray = NDArray[np.int64]
Float32Array = NDArray[np.float32]

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.cost")

MOST_ACCESSES = 5
"""Accesses of a statement that its row describes, those with most data in the program first."""

MOST_ROWS = 32
"""Accesses of a program that are given in its order."""


@dataclass(frozen=True)
class ProgramArrays:
    """Programs of one sketch.

    Parameters
    ----------
    statements : float32 array [n, S, F]
    accesses : float32 array [n, R, G]
    """

    statements: Float32Array
    accesses: Float32Array

    def __len__(self) -> int:
        return len(self.statements)

    def take(self, which: IntArray) -> ProgramArrays:
        """Return the programs at these positions."""
        return ProgramArrays(self.statements[which], self.accesses[which])


def signed_log2(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return log2(1 + x) of counts and sizes, and what is below 0 as it is.

    That is a compute location: −1 is the root and −2 inline, and neither is loop 1 or 2.
    """
    return np.where(values < 0, values, np.log2(1.0 + np.maximum(values, 0)))


class ProgramFeatures:
    """The columns of a sketch's programs, ready to be evaluated.

    Parameters
    ----------
    statements : sequence of Statement
    allocations : mapping of str to Expression or None
        Bytes of the buffers that the program allocates.
    reference : int64 array [D]
        A config at which buffers are ordered by size.
    lattice : mapping, optional
        Values of the decisions by column, which relaxed columns need.
    published : bool
        Give the accesses of the published data-flow pattern alone, or as many rows of zeros
        (:mod:`.dataflow_pattern`).

    Attributes
    ----------
    unknown : dict of str to str
        Statements that are left out, and the first of their numbers without an expression.
    """

    def __init__(
        self,
        statements: Sequence[Statement],
        allocations: dict[str, Expression | None],
        reference: IntArray,
        lattice: dict[int, tuple[int, ...]] | None = None,
        *,
        published: bool = False,
    ) -> None:
        reasons = [(statement.name, statement.missing()) for statement in statements]
        self.unknown = {name: reason for name, reason in reasons if reason is not None}
        known = [s for s, (_, reason) in zip(statements, reasons) if reason is None]
        sizes = _Sizes(reference)
        self._statements = _Rows(
            [_statement_row(s, allocations, sizes) for s in known], STATEMENT_NAMES
        )
        select = _pattern if published else sizes.most
        self._accesses = _Rows(_access_rows(select(known), allocations), ACCESS_NAMES)
        wanted = [*self._statements.expressions, *self._accesses.expressions]
        formulas = list(dict.fromkeys(wanted))
        place = {expression: row for row, expression in enumerate(formulas)}
        self._statements.locate(place)
        self._accesses.locate(place)
        self._tape = Tape(formulas, lattice)

    @staticmethod
    def of(sketch: Sketch, *, published: bool = False) -> ProgramFeatures:
        """Return those of a sketch, made once for as long as it lives."""
        return _PUBLISHED(sketch) if published else _FEATURES(sketch)

    def __call__(self, configs: IntArray) -> ProgramArrays:
        """Evaluate exactly on configs [n, D]."""
        statements = self._statements.blank(len(configs))
        accesses = self._accesses.blank(len(configs))
        for start, values in self._tape.pieces(configs):
            logs = np.log2(1.0 + np.maximum(values, 0)).T.astype(np.float32)
            stop = start + len(logs)
            self._statements.fill(statements[start:stop], logs)
            self._accesses.fill(accesses[start:stop], logs)
        return ProgramArrays(statements, accesses)

    def relaxed(self, x: torch.Tensor, width: float = 0.25) -> tuple[torch.Tensor, torch.Tensor]:
        """Evaluate on real-valued configs [n, D].

        Parameters
        ----------
        x : torch tensor [n, D]
        width : float
            Of the smoothings, see `mschedx.space.algebra.tape.Tape.relaxed`.

        Returns
        -------
        statements : float64 tensor [n, S, F]
        accesses : float64 tensor [n, R, G]
            Differentiable in x; at a config, what a call gives, up to rounding.
        """
        import torch

        logs = torch.log2(1.0 + self._tape.relaxed(x, width).clamp(min=0)).T
        return self._statements.relaxed(logs), self._accesses.relaxed(logs)


def _features(sketch: Sketch, *, published: bool) -> ProgramFeatures:
    sizes = {one.buffer: one.bytes for one in sketch.analysis.allocations}
    reference = np.array([d.domain[0] for d in sketch.decisions], dtype=np.int64)
    lattice = sketch.design.lattice
    made = ProgramFeatures(sketch.statements, sizes, reference, lattice, published=published)
    if made.unknown:
        logger.info(
            "sketch %s: no features of %s",
            sketch.key,
            ", ".join(f"{name} ({reason})" for name, reason in made.unknown.items()),
        )
    return made


_FEATURES = PerSketch(partial(_features, published=False))
_PUBLISHED = PerSketch(partial(_features, published=True))


class _Rows:
    """A table of columns, some constant and some to be evaluated; parameters as of its makers."""

    def __init__(self, rows: Sequence[dict[str, Column]], names: Sequence[str]) -> None:
        position = {name: i for i, name in enumerate(names)}
        self.shape = (len(rows), len(names))
        self._constant = np.zeros(self.shape, dtype=np.float32)
        self.expressions: list[Expression] = []
        targets: list[int] = []
        for r, row in enumerate(rows):
            for name, value in row.items():
                if isinstance(value, Expression):
                    self.expressions.append(value)
                    targets.append(r * len(names) + position[name])
                else:
                    self._constant[r, position[name]] = value
        self._targets = np.array(targets, dtype=np.int64)
        self._sources = np.empty(0, dtype=np.int64)

    def locate(self, place: dict[Expression, int]) -> None:
        """Note where each expression's values will be."""
        self._sources = np.array([place[e] for e in self.expressions], dtype=np.int64)

    def blank(self, n: int) -> Float32Array:
        return np.repeat(self._constant[None], n, axis=0)

    def fill(self, out: Float32Array, logs: Float32Array) -> None:
        out.reshape(len(out), -1)[:, self._targets] = logs[:, self._sources]

    def relaxed(self, logs: torch.Tensor) -> torch.Tensor:
        import torch

        flat = torch.tensor(self._constant.ravel(), dtype=logs.dtype, device=logs.device)
        flat = flat.expand(len(logs), -1).clone()
        targets = torch.from_numpy(self._targets)
        filled = flat.index_copy(1, targets, logs[:, torch.from_numpy(self._sources)])
        return filled.reshape(len(logs), *self.shape)


class _Sizes:
    """Orders accesses by their data in the whole program, at one config for all."""

    def __init__(self, reference: IntArray) -> None:
        self._config = reference[None]

    def of(self, access: BufferAccess) -> int:
        whole = access.bytes_at(0)
        return 0 if whole is None else int(whole(self._config)[0])

    def most(self, statements: Sequence[Statement]) -> list[_Access | None]:
        """Accesses in program order; where there are too many, those of most data are kept."""
        every = [one for statement in statements for one in _accesses(statement)]
        kept = {id(one) for one in self.largest(every, MOST_ROWS)}
        return [one for one in every if id(one) in kept]

    def largest(self, accesses: Sequence[_Access], count: int) -> list[_Access]:
        return sorted(accesses, key=lambda one: -self.of(one.access))[:count]


@dataclass(frozen=True)
class _Access:
    statement: Statement
    access: BufferAccess
    also_written: bool


def _accesses(statement: Statement) -> list[_Access]:
    """The accesses of a statement; what it reads and writes at the same place is one."""
    written = {(write.buffer, write.elements) for write in statement.writes}
    found, updated = [], set()
    for access in statement.accesses:
        place = (access.buffer, access.elements)
        if not access.is_write and place in written:
            updated.add(place)
        elif access.is_write and place in updated:
            continue
        found.append(_Access(statement, access, not access.is_write and place in written))
    return found


def _statement_row(
    statement: Statement, allocated: Mapping[str, Expression | None], sizes: _Sizes
) -> dict[str, Column]:
    row = statement_columns(statement)
    for slot, one in enumerate(sizes.largest(_accesses(statement), MOST_ACCESSES)):
        described = access_columns(statement, one.access, one.also_written, allocated)
        row |= {f"{slot}.{name}": value for name, value in described.items()}
    return row


def _access_rows(
    accesses: Sequence[_Access | None], allocated: Mapping[str, Expression | None]
) -> list[dict[str, Column]]:
    """A row for each access; of zeros for None."""
    return [
        access_columns(one.statement, one.access, one.also_written, allocated)
        | {f"statement.{name}": v for name, v in context_columns(one.statement).items()}
        if one is not None
        else {}
        for one in accesses
    ]


def _pattern(statements: Sequence[Statement]) -> list[_Access | None]:
    """The accesses of the published pattern; None for each where the program has it not."""
    every = [one for statement in as_executed(statements) for one in _accesses(statement)]
    found = first_match([one.access.scope for one in every])
    return [None] * len(PATTERN) if found is None else list(every[found])


def _names(make: Callable[[Statement, BufferAccess], dict[str, Column]]) -> tuple[str, ...]:
    """The names of columns, which every statement has alike."""
    one = constant(1)
    access = BufferAccess("", "global", "", False, 1, (one,), (one,), ())
    statement = Statement("", (), (access,), {}, "", one, one, None, False, False, False)
    return tuple(make(statement, access))


_ACCESS = _names(lambda statement, access: access_columns(statement, access, False, {}))
_CONTEXT = _names(lambda statement, access: context_columns(statement))
_STATEMENT = _names(lambda statement, access: statement_columns(statement))

ACCESS_NAMES = (*_ACCESS, *(f"statement.{name}" for name in _CONTEXT))
STATEMENT_NAMES = (
    *_STATEMENT,
    *(f"{slot}.{name}" for slot in range(MOST_ACCESSES) for name in _ACCESS),
)
