"""A sketch as a region of real numbers: where a descent may go, and the way back to configs.

A point is ``u = log2 x``. The factors of a tile multiply to its loop's extent, so that their
logarithms have a fixed sum; a step off that plane is taken back to the nearest point on it and in
the box of the factors. What couples tiles is a penalty, ``Σ v²`` over them, with
``v = log a − log b`` for a constraint a <= b that is broken. Choices (unrolling, vector lengths of
a fetch) are no numbers: they stay as they are and are enumerated.

Notation
--------
n : configs; D : decisions.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mschedx.space.algebra.constraints import Relation
from mschedx.space.algebra.tape import Tape
from mschedx.space.sampling.nearest import nearest
from mschedx.space.sampling.octaves import distances
from mschedx.space.sampling.sampler import Sampler

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Box = tuple[FloatArray, FloatArray]
"""Least and greatest logarithms, [D] or [n, D]."""


class RelaxedSketch:
    """The region of a sketch.

    Parameters
    ----------
    sketch : Sketch

    Attributes
    ----------
    movable : bool array [D]
        Decisions that are numbers and have more than one value: factors of tiles.
    choices : dict of int to int64 array
        The values of the others that have more than one, by column.
    """

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch
        sampler = sketch.sampler
        self._snap = Sampler([_Table(*table) for table in sampler.tables], [], sampler.n_columns)
        self.movable = np.zeros(sampler.n_columns, dtype=bool)
        self.choices: dict[int, IntArray] = {}
        self._low, self._high = (np.zeros(sampler.n_columns) for _ in range(2))
        self._tiles: list[tuple[IntArray, float]] = []
        lattice = {}
        for columns, rows in sampler.tables:
            lattice |= {c: np.unique(rows[:, i]).tolist() for i, c in enumerate(columns)}
            self._add(np.array(columns, dtype=np.int64), rows)
        self._planes = _by_length(self._tiles)
        self._along = np.diag(self.movable.astype(np.float64))
        for tile, _ in self._tiles:
            free = tile[self.movable[tile]]
            self._along[np.ix_(free, free)] -= 1 / max(len(free), 1)
        # Between multiples there is a barrier, not a slope: rounding sees to those.
        self._constraints = [c for c in sampler.constraints if c.relation is not Relation.MULTIPLE]
        signs = [-1.0 if c.relation is Relation.AT_LEAST else 1.0 for c in self._constraints]
        self._signs = torch.tensor(signs, dtype=torch.float64)[:, None]
        equal = [c.relation is Relation.EQUAL for c in self._constraints]
        self._equal = torch.tensor(equal, dtype=torch.bool)[:, None]
        self._tape = Tape([side for c in self._constraints for side in (c.left, c.right)], lattice)

    def _add(self, columns: IntArray, rows: IntArray) -> None:
        if len(columns) == 1 or (rows < 1).any():
            for i, c in enumerate(columns.tolist()):
                values = np.unique(rows[:, i])
                if len(values) > 1:
                    self.choices[c] = values
            return
        self._low[columns] = np.log2(rows.min(axis=0))
        self._high[columns] = np.log2(rows.max(axis=0))
        self.movable[columns] = rows.min(axis=0) < rows.max(axis=0)
        extents = np.unique(rows.prod(axis=1))
        if len(extents) == 1:
            self._tiles.append((columns, float(np.log2(extents[0]))))

    def tangent(self, slope: FloatArray) -> FloatArray:
        """The part of slopes [n, D] along the region: tiles keep their extent."""
        return slope @ self._along

    def project(self, logs: FloatArray, within: Box | None = None) -> FloatArray:
        """The nearest points of the region, without what couples tiles, to points [n, D].

        Parameters
        ----------
        logs : float64 array [n, D]
        within : pair of float64 arrays [n, D], optional
            Least and greatest logarithms of each point, as `near` gives them.
        """
        low, high = (self._low, self._high) if within is None else within
        inside = logs.clip(low, high)
        inside[:, ~self.movable] = logs[:, ~self.movable]
        for columns, totals in self._planes:
            box = low[..., columns], high[..., columns]
            inside[:, columns] = onto_planes(logs[:, columns], *box, totals)
        return inside

    def near(self, logs: FloatArray, reach: FloatArray) -> Box:
        """What of the region is within ``reach`` [n] octaves of points [n, D] of it, by factor."""
        far = reach[:, None]
        return np.maximum(self._low, logs - far), np.minimum(self._high, logs + far)

    def penalty(self, x: torch.Tensor, width: float) -> torch.Tensor:
        """How much bounds are broken at points [n, D]: tensor [n], 0 where none is."""
        if not self._constraints:
            return x.sum(dim=1).double() * 0
        sides = self._tape.relaxed(x, width).reshape(len(self._constraints), 2, len(x))
        over = _log(sides)
        over = (over[:, 0] - over[:, 1]) * self._signs
        return torch.where(self._equal, over, over.relu()).square().sum(dim=0)

    def rounded(self, x: FloatArray, rng: np.random.Generator) -> IntArray:
        """Distinct valid configs [<= n, D] near points [n, D], in their order.

        Points near the same rows of all tables are one; where rows together break a constraint,
        `Sketch.nearest` repairs them.
        """
        if not len(x):
            return np.empty((0, len(self.movable)), dtype=np.int64)
        near = nearest(self._snap, x, rng)
        first = np.sort(np.unique(near, axis=0, return_index=True)[1])
        found = near[first]
        invalid = np.flatnonzero(~self.sketch.is_valid(found))
        if len(invalid):
            found[invalid] = self.sketch.nearest(x[first[invalid]], rng)
        return found[np.sort(np.unique(found, axis=0, return_index=True)[1])]

    def with_choices(self, configs: IntArray, most: int, rng: np.random.Generator) -> IntArray:
        """Configs [n, D] with every combination of choices, ``most`` drawn where there are more.

        Only the valid ones; distinct, none of ``configs`` itself.
        """
        if not self.choices or not len(configs):
            return configs[:0]
        columns, values = list(self.choices), list(self.choices.values())
        if prod(len(some) for some in values) <= most:
            combinations = np.array(list(product(*values)), dtype=np.int64)
        else:
            combinations = np.column_stack([rng.choice(some, size=most) for some in values])
        varied = np.repeat(configs, len(combinations), axis=0)
        varied[:, columns] = np.tile(combinations, (len(configs), 1))
        varied = np.unique(varied, axis=0)
        known = {row.tobytes() for row in configs}
        fresh = np.array([row.tobytes() not in known for row in varied], dtype=bool)
        varied = varied[fresh]
        return varied[self.sketch.is_valid(varied)]

    def around(self, configs: IntArray, most: int) -> IntArray:
        """Valid configs that differ from one of configs [n, D] in one tile or choice.

        For each of these the ``most`` nearest other ones, by ``log2(1 + x)``: from 1 to 2 is less
        than from 64 to 128. Distinct.
        """
        found = [configs[:0]]
        for columns, rows in self.sketch.sampler.tables:
            if len(rows) < 2:
                continue
            own = np.log2(1.0 + np.maximum(configs[:, list(columns)], 0))
            far = distances(own, np.log2(1.0 + np.maximum(rows, 0)))
            near = np.argsort(far, axis=1, kind="stable")[:, : most + 1]
            moved = np.repeat(configs, near.shape[1], axis=0)
            moved[:, list(columns)] = rows[near.ravel()]
            found.append(moved)
        distinct = np.unique(np.concatenate(found), axis=0)
        return distinct[self.sketch.is_valid(distinct)]


def _by_length(tiles: list[tuple[IntArray, float]]) -> list[tuple[IntArray, FloatArray]]:
    """Tiles with as many factors together: columns [T, c] and totals [T]."""
    lengths = sorted({len(columns) for columns, _ in tiles})
    groups = [[tile for tile in tiles if len(tile[0]) == length] for length in lengths]
    return [
        (np.stack([columns for columns, _ in group]), np.array([total for _, total in group]))
        for group in groups
    ]


class _Table:
    def __init__(self, columns: tuple[int, ...], rows: IntArray) -> None:
        self.columns, self.rows = columns, rows


def _log(x: torch.Tensor) -> torch.Tensor:
    """``ln x`` from 1 on, and its tangent ``x − 1`` below, where sides may be 0 or less."""
    return torch.where(x >= 1, x.clamp(min=1.0).log(), x - 1)


def onto_planes(
    points: FloatArray, low: FloatArray, high: FloatArray, totals: FloatArray
) -> FloatArray:
    """The nearest points to points [n, T, c] with ``low <= y <= high`` and ``Σ y = total``.

    They are ``clip(points − t, low, high)`` with one ``t`` a tile. That sum falls with t along
    straight lines, whose corners are where a factor reaches its bound: t is on the line between the
    two corners that have the total between them.

    Parameters
    ----------
    points : float64 array [n, T, c]
    low, high : float64 arrays [T, c] or [n, T, c]
    totals : float64 array [T]
        Between the sums of ``low`` and of ``high``.
    """
    corners = np.sort(np.concatenate([points - high, points - low], axis=2), axis=2)
    moved = (points[:, :, None] - corners[..., None]).clip(low[..., None, :], high[..., None, :])
    sums = moved.sum(axis=3)
    last = corners.shape[2] - 1
    after = (sums > totals[:, None]).sum(axis=2, keepdims=True).clip(1, last)
    (t0, t1), (s0, s1) = (
        (np.take_along_axis(values, after - 1, 2), np.take_along_axis(values, after, 2))
        for values in (corners, sums)
    )
    falls = s0 - s1
    share = np.divide(s0 - totals[:, None], falls, out=np.zeros_like(falls), where=falls > 0)
    return (points - t0 - share.clip(0, 1) * (t1 - t0)).clip(low, high)
