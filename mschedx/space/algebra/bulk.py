"""Many expressions on many configs at once: what they share is computed once.

Notation
--------
n : number of configs.
D : number of decisions.
E : number of expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .expression import Expression, IntArray, Lookup, Monomial

_PIECE = 2048
"""Configs evaluated at a time, so that intermediate values stay in the cache."""


class Bulk:
    """Evaluates expressions together.

    Equal sub-expressions are evaluated once, and monomials share the products of their leading
    factors: ``m.1·n.1`` serves ``m.1·n.1·k.1`` too.

    Parameters
    ----------
    expressions : sequence of Expression
    """

    def __init__(self, expressions: Sequence[Expression]) -> None:
        self._columns = sorted(frozenset().union(*(e.columns for e in expressions)))
        # The columns come first among the values, then what each step adds.
        self._places: dict[object, int] = {c: place for place, c in enumerate(self._columns)}
        self._steps: list[tuple[Callable[..., IntArray], tuple[int, ...]]] = []
        self._wanted = [self._place(expression) for expression in expressions]

    def __call__(self, configs: IntArray) -> IntArray:
        """Evaluate exactly on configs [n, D]; int64 [E, n]."""
        result = np.empty((len(self._wanted), len(configs)), dtype=np.int64)
        for start, values in self.pieces(configs):
            result[:, start : start + values.shape[1]] = values
        return result

    def pieces(self, configs: IntArray) -> Iterator[tuple[int, IntArray]]:
        """Go through the configs piece by piece: where a piece starts, and its values [E, …]."""
        for start in range(0, len(configs), _PIECE):
            piece = configs[start : start + _PIECE]
            values = [np.ascontiguousarray(piece[:, c]) for c in self._columns]
            for function, places in self._steps:
                values.append(function(*(values[place] for place in places)))
            result = np.empty((len(self._wanted), len(piece)), dtype=np.int64)
            for row, place in zip(result, self._wanted):
                row[:] = values[place]
            yield start, result

    def _place(self, expression: Expression) -> int:
        """The place of an expression's values; steps are added for what is not there yet."""
        if expression in self._places:
            return self._places[expression]
        if isinstance(expression, Monomial):
            factors = [c for c, exponent in expression.exponents for _ in range(exponent)]
            place = self._scaled(expression.coefficient, tuple(factors))
        elif isinstance(expression, Lookup):
            place = self._step(expression.combine, self._places[expression.column])
        else:
            place = self._step(expression.combine, *(self._place(p) for p in expression.parts))
        self._places[expression] = place
        return place

    def _scaled(self, coefficient: int, factors: tuple[int, ...]) -> int:
        if not factors:
            return self._step(lambda: np.asarray(coefficient, dtype=np.int64))
        place = self._product(factors)
        if coefficient == 1:
            return place
        return self._step(lambda value: coefficient * value, place)

    def _product(self, factors: tuple[int, ...]) -> int:
        """The place of a product of columns."""
        if len(factors) == 1:
            return self._places[factors[0]]
        if factors not in self._places:
            head, last = self._product(factors[:-1]), self._places[factors[-1]]
            self._places[factors] = self._step(np.multiply, head, last)
        return self._places[factors]

    def _step(self, function: Callable[..., IntArray], *places: int) -> int:
        self._steps.append((function, places))
        return len(self._columns) + len(self._steps) - 1
