"""The valid config nearest to any point: how relaxed or edited configs come back into the space.

Distance is the sum over columns of differences in octaves (:mod:`.octaves`). It is a sum over
tables too, so that without constraints the nearest row of each table is the answer. Where these
together break a constraint, rows of the coupled tables are chosen anew by beam search, nearest
first; where that finds nothing, configs are drawn from near rows (`Sampler.restricted`) and the
best goes on. Then two tables at a time are chosen again while the others stay.

The answer is the nearest config, or one not much farther: a search this is, no proof.

Notation
--------
n : number of configs; m : of those that need more than their tables' nearest rows.
D : number of columns; r : number of rows of a table.
B : width of the beam; K : rows of a table that are looked at.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import EmptySpace
from .octaves import distances, octaves
from .sampler import Sampler

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_BEAM, _ROWS = 32, 32
"""B and K where tables are chosen anew; by hand, as are the next two."""

_PAIR_ROWS = 24
"""K where two tables are chosen again while the others stay."""

_DRAWS = 16
"""Configs that are drawn where the beam finds none."""

_ELEMENTS = 1 << 22
"""Numbers of the largest array that is made at a time: 32 MB."""


def nearest(sampler: Sampler, configs: ArrayLike, rng: np.random.Generator) -> IntArray:
    """Return a valid config near each of ``configs`` [n, D], whole numbers or not.

    Parameters
    ----------
    sampler : Sampler
    configs : array [n, D]
        Finite. A valid one is its own answer.
    rng : numpy.random.Generator
        The only source of chance.

    Returns
    -------
    int64 array [n, D]

    Raises
    ------
    ValueError
        For another shape, or values that are not finite.
    EmptySpace
        When nothing is valid.
    """
    wanted = np.asarray(configs, dtype=np.float64)
    if wanted.ndim != 2 or wanted.shape[1] != sampler.n_columns:
        raise ValueError(f"expected configs [n, {sampler.n_columns}], got {wanted.shape}")
    if not np.isfinite(wanted).all():
        raise ValueError("expected configs of finite values, got nan or inf")
    rows = max([len(rows) for _, rows in sampler.tables], default=1)
    step = max(1, _ELEMENTS // max(_BEAM * _ROWS * wanted.shape[1], rows))
    pieces = [
        _Projection(sampler, wanted[i : i + step]).solve(rng) for i in range(0, len(wanted), step)
    ]
    return np.concatenate(pieces) if pieces else np.empty(wanted.shape, dtype=np.int64)


def distance(sampler: Sampler, wanted: ArrayLike, configs: IntArray) -> FloatArray:
    """Measure how far configs [n, D] are from points [n, D]: float64 [n], in octaves."""
    wanted, total = np.asarray(wanted, dtype=np.float64), np.zeros(len(configs))
    for columns, rows in sampler.tables:
        here = list(columns)
        near, have = octaves(rows, wanted[:, here]), octaves(rows, configs[:, here])
        total += np.abs(near - have).sum(axis=1)
    return total


class _Projection:
    """Some configs to be brought into the space.

    Parameters
    ----------
    sampler : Sampler
    wanted : float64 array [n, D]
    """

    def __init__(self, sampler: Sampler, wanted: FloatArray) -> None:
        self._sampler = sampler
        self._columns = [list(columns) for columns, _ in sampler.tables]
        self._rows = [rows for _, rows in sampler.tables]
        self._costs = [
            distances(octaves(rows, wanted[:, columns]), octaves(rows, rows))
            for columns, rows in zip(self._columns, self._rows)
        ]
        self._shape = wanted.shape
        owner = {c: t for t, columns in enumerate(self._columns) for c in columns}
        self._coupled = [
            frozenset(owner[c] for c in constraint.columns) for constraint in sampler.constraints
        ]

    def solve(self, rng: np.random.Generator) -> IntArray:
        found = np.empty(self._shape, dtype=np.int64)
        for columns, rows, cost in zip(self._columns, self._rows, self._costs):
            found[:, columns] = rows[cost.argmin(axis=1)]
        left = np.flatnonzero(~self._sampler.is_valid(found))
        if not len(left):
            return found
        impossible = [c for c in self._sampler.constraints if c.is_impossible]
        if impossible:
            raise EmptySpace(f"no config satisfies {impossible[0]}")
        tables = sorted(frozenset().union(*self._coupled), key=lambda t: len(self._rows[t]))
        solved, cost = self._choose(left, found[left], tables, _ROWS)
        dead = np.flatnonzero(~np.isfinite(cost))
        if len(dead):
            solved[dead] = self._drawn(left[dead], rng)
        for pair in sorted({p for some in self._coupled for p in combinations(sorted(some), 2)}):
            better, cost = self._choose(left, solved, list(pair), _PAIR_ROWS)
            gain = cost < self._cost(left, solved, list(pair)) - 1e-12
            solved[gain] = better[gain]
        found[left] = solved
        return found

    def _choose(
        self, which: IntArray, configs: IntArray, tables: list[int], most: int
    ) -> tuple[IntArray, FloatArray]:
        """Choose rows of ``tables`` anew for configs [m, D], the other columns being right.

        Returns
        -------
        configs : int64 array [m, D]
        cost : float64 array [m]
            What these tables add to the distance; ``inf`` where nothing valid was found.
        """
        beam, total = configs[:, None, :], np.zeros((len(which), 1))
        for done, table in enumerate(tables):
            near, cost = self._near(which, table, most)
            total = (total[:, :, None] + cost[:, None, :]).reshape(len(which), -1)
            width = near.shape[1]
            grown = np.repeat(beam, width, axis=1)
            values = self._rows[table][near]
            grown[:, :, self._columns[table]] = np.tile(values, (1, beam.shape[1], 1))
            total = self._refused(grown, total, table, set(tables[done + 1 :]))
            keep = np.argsort(total, axis=1, kind="stable")[:, :_BEAM]
            total = np.take_along_axis(total, keep, axis=1)
            beam = np.take_along_axis(grown, keep[:, :, None], axis=1)
        return beam[:, 0].copy(), total[:, 0]

    def _near(self, which: IntArray, table: int, most: int) -> tuple[IntArray, FloatArray]:
        """The nearest rows of a table: positions and costs [m, <= most], nearest first."""
        costs = self._costs[table][which]
        near = np.argsort(costs, axis=1, kind="stable")[:, :most]
        return near, np.take_along_axis(costs, near, axis=1)

    def _refused(
        self, grown: IntArray, total: FloatArray, table: int, undecided: set[int]
    ) -> FloatArray:
        """Return the totals [m, b], ``inf`` where a constraint that is decided now is broken."""
        alive = np.flatnonzero(np.isfinite(total.ravel()))
        flat = grown.reshape(total.size, grown.shape[2])
        for constraint, coupled in zip(self._sampler.constraints, self._coupled):
            if table in coupled and not coupled & undecided:
                alive = alive[constraint.holds(flat[alive])]
        kept = np.full(total.size, np.inf)
        kept[alive] = total.ravel()[alive]
        return kept.reshape(total.shape)

    def _cost(self, which: IntArray, configs: IntArray, tables: list[int]) -> FloatArray:
        """What ``tables`` add to the distance of configs [m, D]: float64 [m]."""
        cost = np.zeros(len(which))
        for table in tables:
            have = configs[:, self._columns[table]]
            same = (self._rows[table][None] == have[:, None]).all(axis=2).argmax(axis=1)
            cost += self._costs[table][which, same]
        return cost

    def _drawn(self, which: IntArray, rng: np.random.Generator) -> IntArray:
        """Draw valid configs [m, D] from near rows, as near as there are any, and keep the best."""
        result = np.empty((len(which), self._shape[1]), dtype=np.int64)
        missing = np.arange(len(which))
        for most in (8, 64, 1 << 30):
            if not len(missing):
                return result
            repeated = np.repeat(which[missing], _DRAWS)
            allowed = [_lowest(cost[repeated], most) for cost in self._costs]
            configs, found = self._sampler.restricted(allowed, rng)
            cost = np.full(len(repeated), np.inf)
            every = list(range(len(self._rows)))
            cost[found] = self._cost(repeated[found], configs[found], every)
            best = cost.reshape(-1, _DRAWS).argmin(axis=1) + np.arange(len(missing)) * _DRAWS
            result[missing] = configs[best]
            missing = missing[~found[best]]
        if len(missing):
            result[missing] = self._sampler.sample(len(missing), rng)
        return result


def _lowest(costs: FloatArray, most: int) -> NDArray[np.bool_]:
    """Mark the ``most`` lowest of each row [m, r], and all that equal the last of them."""
    if most >= costs.shape[1]:
        return np.ones(costs.shape, dtype=bool)
    return costs <= np.partition(costs, most - 1, axis=1)[:, most - 1 : most]
