"""Many expressions as one program of steps, in which nothing is computed twice.

Notation
--------
n : number of configs.
D : number of decisions.
E : number of expressions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .expression import Expression, IntArray, Monomial
from .operations import MULTIPLY, Operation

if TYPE_CHECKING:
    import torch

    from .relaxed import Relaxed

FloatArray = NDArray[np.float64]

_PIECE = 2048
"""Configs evaluated at a time, so that intermediate values stay in the cache."""


class Step(NamedTuple):
    """One operation on the values at earlier places; a constant has no operation."""

    operation: Operation | None
    places: tuple[int, ...]
    value: int = 0


class Tape:
    """A hash-consed program of steps: equal parts of expressions are one step.

    The values of the columns that are read come first, then one value a step. Monomials share the
    products of their leading factors: ``m.1·n.1`` serves ``m.1·n.1·k.1`` too.

    Parameters
    ----------
    expressions : sequence of Expression
    lattice : mapping of int to sequence of int, optional
        The values that decisions can take, by column; positive integers where left out. Only
        `relaxed` needs them.

    Attributes
    ----------
    columns : list of int
        The columns that are read.
    steps : list of Step
    wanted : list of int
        The places of the expressions' values.
    """

    def __init__(
        self,
        expressions: Sequence[Expression],
        lattice: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        self.lattice = dict(lattice or {})
        self.columns = sorted(frozenset().union(*(e.columns for e in expressions)))
        self.steps: list[Step] = []
        self._column_places = {c: place for place, c in enumerate(self.columns)}
        self._known: dict[Expression, int] = {}
        self._made: dict[Step, int] = {}
        self.wanted = [self._place(expression) for expression in expressions]

    def __call__(self, configs: IntArray) -> IntArray:
        """Evaluate exactly on configs [n, D]; int64 [E, n]."""
        result = np.empty((len(self.wanted), len(configs)), dtype=np.int64)
        for start, values in self.pieces(configs):
            result[:, start : start + values.shape[1]] = values
        return result

    def pieces(self, configs: IntArray) -> Iterator[tuple[int, IntArray]]:
        """Go through the configs piece by piece: where a piece starts, and its values [E, …]."""
        for start in range(0, len(configs), _PIECE):
            piece = configs[start : start + _PIECE]
            values = self.values(piece)
            result = np.empty((len(self.wanted), len(piece)), dtype=np.int64)
            for row, place in zip(result, self.wanted):
                row[:] = values[place]
            yield start, result

    def values(self, configs: IntArray) -> list[Any]:
        """Evaluate every step exactly on configs [n, D]: int64 [n] each, scalars for constants."""
        if configs.dtype.kind == "f" and (configs != np.rint(configs)).any():
            raise ValueError(
                "expected configs of whole numbers, got others: see Sketch.nearest, and "
                "Tape.relaxed for what lies between configs"
            )
        # Products of narrower integers would wrap around.
        values: list[Any] = [
            np.ascontiguousarray(configs[:, c], dtype=np.int64) for c in self.columns
        ]
        for operation, places, value in self.steps:
            values.append(
                np.int64(value)
                if operation is None
                else operation.exact(*(values[place] for place in places))
            )
        return values

    def relaxed(self, x: torch.Tensor, width: float = 0.25) -> torch.Tensor:
        """Evaluate on real-valued configs; see `relaxed.Relaxed`.

        Parameters
        ----------
        x : torch tensor [n, D]
            float32 or float64; computed in float64 either way.
        width : float
            Of the smoothings, in (0, 1].

        Returns
        -------
        float64 torch tensor [E, n]
            Equal to the exact value where x is on the lattice; differentiable in x.
        """
        return self._relaxed(x, width)

    @cached_property
    def _relaxed(self) -> Relaxed:
        from .relaxed import Relaxed

        return Relaxed(self)

    def bounds(self, low: Any, high: Any) -> tuple[FloatArray, FloatArray]:
        """Bound every expression where the decisions are between ``low`` and ``high``.

        Parameters
        ----------
        low, high : float arrays [D] or [n, D]

        Returns
        -------
        least, most : float64 arrays [E] or [E, n]
            Exact up to 2^53, then to a relative 1e-12.
        """
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        values: list[Any] = [(low[..., c], high[..., c]) for c in self.columns]
        for operation, places, value in self.steps:
            values.append(
                (np.float64(value), np.float64(value))
                if operation is None
                else operation.bounds(*(values[place] for place in places))
            )
        shape = low.shape[:-1]
        sides = [np.empty((len(self.wanted), *shape)) for _ in range(2)]
        for row, place in enumerate(self.wanted):
            for side, value in zip(sides, values[place]):
                side[row] = value
        return sides[0], sides[1]

    def _place(self, expression: Expression) -> int:
        """The place of an expression's values; steps are added for what is not there yet."""
        place = self._known.get(expression)
        if place is None:
            if isinstance(expression, Monomial):
                place = self._monomial(expression)
            else:
                parts = tuple(self._place(part) for part in expression.parts)
                place = self._step(Step(expression.operation, parts))
            self._known[expression] = place
        return place

    def _monomial(self, expression: Monomial) -> int:
        place = None
        for c, exponent in expression.exponents:
            for _ in range(exponent):
                factor = self._column_places[c]
                place = factor if place is None else self._step(Step(MULTIPLY, (place, factor)))
        if place is None or expression.coefficient != 1:
            scale = self._step(Step(None, (), expression.coefficient))
            place = scale if place is None else self._step(Step(MULTIPLY, (place, scale)))
        return place

    def _step(self, step: Step) -> int:
        if step not in self._made:
            self._made[step] = len(self.columns) + len(self.steps)
            self.steps.append(step)
        return self._made[step]
