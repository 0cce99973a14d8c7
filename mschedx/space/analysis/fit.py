"""Find the integer expression behind a column of observed values, exactly or not at all.

Notation
--------
P : number of probes (configs a design was replayed at).
D : number of decisions.

A monomial is linear in logarithms: least squares gives its exponents, rounding makes them integers,
and the result counts only if it reproduces every observed integer. The factors of one tile multiply
to a constant, so exponents are known up to a shift per tile; the least non-negative ones are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mschedx.space.expression import Expression, IntArray, Monomial, column, constant, monomial

Recipe = Callable[[], "Expression | None"]

_SPARE = 6
"""Observations a fit must have beyond its unknowns, so that agreement is evidence."""


@dataclass
class Solver:
    """Finds expressions on a fixed set of probes.

    Parameters
    ----------
    configs : int64 array [P, D]
    tiles : sequence of tuples of int
        The columns of each tile.
    """

    configs: IntArray
    tiles: Sequence[tuple[int, ...]]
    _known: dict[bytes, Expression] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.configs = np.ascontiguousarray(self.configs, dtype=np.int64)
        in_tiles = {c for tile in self.tiles for c in tile}
        positive = (self.configs > 0).all(axis=0)
        unknowns = []
        for tile in self.tiles:
            product = self.configs[:, list(tile)].prod(axis=1)
            # With a constant product the first factor is the others' inverse.
            unknowns += tile[1:] if (product == product[0]).all() else tile
        unknowns += [c for c in np.flatnonzero(positive) if c not in in_tiles]
        self._unknowns = np.array(
            [c for c in unknowns if positive[c] and np.ptp(self.configs[:, c])], dtype=np.int64
        )
        logs = np.log(self.configs[:, self._unknowns])
        self._design = np.column_stack([np.ones(len(self.configs)), logs])
        self._inverses: dict[bytes, NDArray[np.float64]] = {}
        for c in range(self.configs.shape[1]):
            self.learn(column(c))

    def learn(self, expression: Expression) -> Expression:
        """Remember an expression, to be recognised by its values."""
        self._known.setdefault(expression(self.configs).tobytes(), expression)
        return expression

    def agrees(
        self, expression: Expression, values: IntArray, mask: NDArray[np.bool_] | None = None
    ) -> bool:
        """Tell whether the expression has these values [P] (where the mask is true)."""
        got = expression(self.configs)
        return bool((got == values).all() if mask is None else (got == values)[mask].all())

    def solve(
        self,
        values: IntArray,
        mask: NDArray[np.bool_] | None = None,
        recipes: Iterable[Recipe] = (),
    ) -> Expression | None:
        """Find the expression with these values.

        Parameters
        ----------
        values : int array [P]
        mask : bool array [P], optional
            Where the values mean something; everywhere when left out.
        recipes : iterable of callables
            Compositions of expressions already found, tried when neither a known expression nor a
            monomial fits; each returns an expression or None.

        Returns
        -------
        Expression or None
            None when nothing reproduces every value.
        """
        values = np.ascontiguousarray(values, dtype=np.int64)
        if mask is not None and mask.all():
            mask = None
        seen = values if mask is None else values[mask]
        if len(seen) == 0:
            return None
        if (seen == seen[0]).all():
            return constant(int(seen[0]))
        if mask is None and values.tobytes() in self._known:
            return self._known[values.tobytes()]
        found = self._monomial(values, mask)
        if found is None:
            found = self._composed(values, mask, recipes)
        if found is not None and mask is None:
            self.learn(found)
        return found

    def _composed(
        self, values: IntArray, mask: NDArray[np.bool_] | None, recipes: Iterable[Recipe]
    ) -> Expression | None:
        for recipe in recipes:
            expression = recipe()
            if expression is not None and self.agrees(expression, values, mask):
                return expression
        return None

    def _monomial(self, values: IntArray, mask: NDArray[np.bool_] | None) -> Monomial | None:
        rows = slice(None) if mask is None else mask
        seen = values[rows]
        if (seen <= 0).any() or len(seen) < self._design.shape[1] + _SPARE:
            return None
        exponents = self._inverse(mask)[1:] @ np.log(seen)
        rounded = np.rint(exponents).astype(np.int64)
        if np.abs(exponents - rounded).max(initial=0) > 1e-6 or np.abs(rounded).max(initial=0) > 4:
            return None
        powers = dict(zip(self._unknowns.tolist(), rounded.tolist()))
        for tile in self.tiles:
            least = min(powers.get(c, 0) for c in tile)
            for c in tile:
                powers[c] = powers.get(c, 0) - least
        if any(e < 0 for e in powers.values()):
            return None
        base = monomial(1, powers)
        products = base(self.configs)[rows]
        coefficient = int(seen[0] // products[0])
        if coefficient < 1 or not np.array_equal(coefficient * products, seen):
            return None
        return monomial(coefficient, powers)

    def _inverse(self, mask: NDArray[np.bool_] | None) -> NDArray[np.float64]:
        key = b"" if mask is None else mask.tobytes()
        if key not in self._inverses:
            rows = self._design if mask is None else self._design[mask]
            self._inverses[key] = np.linalg.pinv(rows, rcond=1e-9)
        return self._inverses[key]
