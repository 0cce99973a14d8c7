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

from ...algebra.expression import (
    Expression,
    IntArray,
    Lookup,
    Monomial,
    ceil_div,
    column,
    constant,
    monomial,
)

Recipe = Callable[[], "Expression | None"]

LEGIBLE = 0.9
"""Share of the programs in which a number must be legible: `affine.sweep` gives up on a tile whose
loops run too often to be gone through, and one such tile must not cost all others their expression.
"""

_SPARE = 6
"""Observations a fit must have beyond its unknowns, so that agreement is evidence."""

_NO_DIRECTION = 1e-12
"""Squared length, over the longest's, of a direction that probes do not reach in: rounding alone.
"""

_BESIDE = 1e-6
"""Distance from what the probes span that is rounding: logarithms of integers differ by more."""


def enough(unknowns: int) -> int:
    """Observations that determine a monomial of so many decisions, with some to spare."""
    return unknowns + 1 + _SPARE


@dataclass
class Solver:
    """Finds expressions on a fixed set of probes.

    Parameters
    ----------
    configs : int64 array [P, D]
    tiles : sequence of tuples of int
        The columns of each tile.
    categories : sequence of int
        The columns of categorical decisions, every candidate of which occurs in ``configs``.
    """

    configs: IntArray
    tiles: Sequence[tuple[int, ...]]
    categories: Sequence[int] = ()
    _known: dict[bytes, Expression] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.configs = np.ascontiguousarray(self.configs, dtype=np.int64)
        self.categories = [c for c in self.categories if np.ptp(self.configs[:, c])]
        in_tiles = {c for tile in self.tiles for c in tile}
        positive: NDArray[np.bool_] = np.all(self.configs > 0, axis=0)
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
        self.enough = enough(len(self._unknowns))
        self._inverses: dict[tuple[bytes, bytes], NDArray[np.floating]] = {}
        self._vary: dict[bytes, IntArray] = {}
        for c in range(self.configs.shape[1]):
            self.learn(column(c))

    def lacking(self, mask: NDArray[np.bool_], others: IntArray) -> int:
        """How many more probes it takes at least for what is found behind the mask [P] to be sure.

        A monomial holds for other configs [m, D] too once the probes outnumber, with some to spare,
        the directions they span, and span those of the others.
        """
        seen = self._design[mask]
        # Of k × k: decomposing hundreds of rows, as often as this is asked, wakes all BLAS threads.
        squares, directions = np.linalg.eigh(seen.T @ seen)
        unseen = directions[:, squares <= _NO_DIRECTION * squares[-1]]
        logs = np.log(np.maximum(others[:, self._unknowns], 1))
        beside = unseen[0] + logs @ unseen[1:]
        more = int((np.linalg.eigvalsh(beside.T @ beside) > _BESIDE**2).sum())
        rank = len(squares) - unseen.shape[1]
        return max(more, rank + more + _SPARE - len(seen), 0)

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
            found = self._selected(values, mask)
        if found is None:
            found = self._composed(values, mask, recipes)
        nearly_all = mask is None or mask.mean() >= LEGIBLE
        if found is None and mask is not None and nearly_all:
            found = self._recognised(values, mask)
        if found is not None and nearly_all:
            self.learn(found)
        return found

    def _recognised(self, values: IntArray, mask: NDArray[np.bool_]) -> Expression | None:
        """A known expression that has these values behind the mask."""
        seen = values[mask]
        for whole, expression in self._known.items():
            if np.array_equal(np.frombuffer(whole, dtype=np.int64)[mask], seen):
                return expression
        return None

    def _composed(
        self, values: IntArray, mask: NDArray[np.bool_] | None, recipes: Iterable[Recipe]
    ) -> Expression | None:
        for recipe in recipes:
            expression = recipe()
            if expression is not None and self.agrees(expression, values, mask):
                return expression
        return None

    def _monomial(self, values: IntArray, mask: NDArray[np.bool_] | None) -> Monomial | None:
        """Fit on all columns or, where observations are few, on one tile's at a time."""
        seen = values if mask is None else values[mask]
        if (seen <= 0).any():
            return None
        varying = self._varying(mask)
        if len(seen) >= enough(len(varying)):
            return self._fitted(seen, mask, varying)
        for tile in self.tiles:
            some = np.flatnonzero(np.isin(self._unknowns, tile))
            if len(seen) >= enough(len(some)):
                found = self._fitted(seen, mask, some)
                if found is not None:
                    return found
        return None

    def _varying(self, mask: NDArray[np.bool_] | None) -> IntArray:
        """Which of the unknowns take several values behind the mask."""
        if mask is None:
            return np.arange(len(self._unknowns))
        key = mask.tobytes()
        if key not in self._vary:
            self._vary[key] = np.flatnonzero(np.ptp(self._design[mask, 1:], axis=0))
        return self._vary[key]

    def _fitted(
        self, seen: IntArray, mask: NDArray[np.bool_] | None, unknowns: IntArray
    ) -> Monomial | None:
        exponents = self._inverse(mask, unknowns)[1:] @ np.log(seen)
        rounded = np.rint(exponents).astype(np.int64)
        if np.abs(exponents - rounded).max(initial=0) > 1e-6 or np.abs(rounded).max(initial=0) > 4:
            return None
        powers = dict(zip(self._unknowns[unknowns].tolist(), rounded.tolist()))
        for tile in self.tiles:
            least = min(powers.get(c, 0) for c in tile)
            for c in tile:
                powers[c] = powers.get(c, 0) - least
        if any(e < 0 for e in powers.values()):
            return None
        products = monomial(1, powers)(self.configs if mask is None else self.configs[mask])
        coefficient = int(seen[0] // products[0])
        if coefficient < 1 or not np.array_equal(coefficient * products, seen):
            return None
        return monomial(coefficient, powers)

    def _inverse(self, mask: NDArray[np.bool_] | None, unknowns: IntArray) -> NDArray[np.floating]:
        key = (b"" if mask is None else mask.tobytes(), unknowns.tobytes())
        if key not in self._inverses:
            rows = self._design if mask is None else self._design[mask]
            self._inverses[key] = np.linalg.pinv(rows[:, [0, *(unknowns + 1)]], rcond=1e-9)
        return self._inverses[key]

    def _selected(self, values: IntArray, mask: NDArray[np.bool_] | None) -> Expression | None:
        """Fit ``⌈F / x⌉`` of one categorical column, or a table of its values."""
        rows = slice(None) if mask is None else mask
        seen = values[rows]
        for c in self.categories:
            chosen = self.configs[rows, c]
            pairs = {(int(k), int(v)) for k, v in zip(chosen, seen)}
            keys = {k for k, _ in pairs}
            if len(keys) != len(pairs) or keys != set(self.configs[:, c].tolist()):
                continue
            if min(keys) > 0:
                low, high = max((v - 1) * k + 1 for k, v in pairs), min(v * k for k, v in pairs)
                if low <= high:
                    return ceil_div(high, column(c))
            return Lookup(c, tuple(sorted(pairs)))
        return None
