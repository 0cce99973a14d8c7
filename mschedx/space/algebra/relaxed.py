"""Expressions of real numbers: exact on the lattice of configs, smooth and never stuck between.

A smoothing (`operations`) is right on average and wrong at most integers: ``⌈7 / 2⌉`` is 4, its
line says 3.75. Every step of that kind is therefore corrected by what it misses at the nearest
lattice point x*, faded out with the distance to it::

    f(x) = S(x) + λ(x) · (f(x*) − S(x*)),    λ(x) = Π_d cos²(π/2 · t_d)

where ``t_d`` in [0, 1] is the distance of ``x_d`` from ``x*_d`` over that to half way to the next
lattice value, d ranges over the decisions that the step reads, and ``S(x*)`` takes exact values in.
λ is 1 at lattice points and 0 half way between them, with slope 0 at both. So f is continuously
differentiable wherever S is, equal to the exact value on the lattice, and has the slope of S there.

Values are computed in NumPy with the slopes of every step beside them, group by group (`grouped`);
for torch, all of it is one operation.

Notation
--------
n : configs; D : decisions; C : columns that are read; E : expressions.
k : steps of a group; a : arguments of each; r : columns that each reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from .grouped import Group, Grouped

if TYPE_CHECKING:
    from .tape import Tape

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Slopes = list[Sequence[Any]]
"""Of every group: slopes of its values in its arguments, then in the columns it reads, [k, n]."""


class Relaxed:
    """A tape on real numbers.

    Parameters
    ----------
    tape : Tape
    """

    def __init__(self, tape: Tape) -> None:
        self._columns = tape.columns
        self._grouped = Grouped.of(tape)
        self._lattices = _Lattices([tape.lattice.get(c) for c in tape.columns])
        self._rough = any(group.operation.rough for group in self._grouped.groups)

    def __call__(self, x: torch.Tensor, width: float) -> torch.Tensor:
        """Evaluate on configs [n, D]; float64 [E, n]. See `Tape.relaxed`."""
        if not 0 < width <= 1:
            raise ValueError(f"expected width in (0, 1], got {width}")
        if not x.dtype.is_floating_point or x.ndim != 2:
            raise ValueError(f"expected real-valued configs [n, D], got {x.dtype} {tuple(x.shape)}")
        return _Evaluated.apply(x.double(), self, width)

    def evaluated(self, x: FloatArray, width: float) -> tuple[FloatArray, Slopes]:
        """Evaluate on configs [n, D]: values [E, n], and the slopes of every group."""
        grouped, slopes = self._grouped, []
        columns = np.ascontiguousarray(x.T[self._columns])
        values = grouped.begun(columns)
        near = _Near(self._lattices, columns) if self._rough else None
        exact = None if near is None else grouped.begun(near.nearest)
        for group in grouped.groups:
            given = values.take(group.arguments, axis=0)
            whole = None
            if exact is not None:
                whole = exact.take(group.arguments, axis=0)
                exact[group.rows] = group.operation.exact(*whole)
            if near is None or exact is None or whole is None or not group.operation.rough:
                values[group.rows], own = group.operation.smooth(width, *given)
            else:
                values[group.rows], own = _corrected(
                    group, given, whole, exact[group.rows], near, width
                )
            slopes.append(own)
        return values[grouped.wanted], slopes

    def back(self, wanted: FloatArray, slopes: Slopes, depth: int) -> FloatArray:
        """Slopes of a total in the configs [n, ``depth``], from those in the values [E, n]."""
        grouped, n = self._grouped, wanted.shape[1]
        total = np.zeros((grouped.n_rows, n))
        np.add.at(total, grouped.wanted, wanted)
        for group, own in zip(reversed(grouped.groups), reversed(slopes)):
            above = total[group.rows]
            parts = np.empty((len(own), *above.shape))
            for i, slope in enumerate(own):
                parts[i] = above * slope
            group.scatter(parts, total)
        found = np.zeros((n, depth))
        found[:, self._columns] = total[: len(self._columns)].T
        return found


class _Evaluated(torch.autograd.Function):
    """`Relaxed` for torch: the values [E, n] of configs [n, D]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, relaxed: Relaxed, width: float) -> torch.Tensor:
        values, slopes = relaxed.evaluated(x.detach().cpu().numpy(), width)
        ctx.relaxed, ctx.slopes, ctx.depth = relaxed, slopes, x.shape[1]
        return torch.from_numpy(values).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        found = ctx.relaxed.back(grads[0].cpu().numpy(), ctx.slopes, ctx.depth)
        return torch.from_numpy(found).to(grads[0].device), None, None


def _corrected(
    group: Group, given: FloatArray, whole: IntArray, exact: IntArray, near: _Near, width: float
) -> tuple[FloatArray, list[FloatArray]]:
    """Values [k, n] of a group that are exact at lattice points, and their slopes.

    Parameters
    ----------
    group : Group
    given : float64 array [a, k, n]
        Arguments.
    whole : int64 array [a, k, n]
        The same at the nearest lattice points.
    exact : int64 array [k, n]
        Values there.
    near : _Near
    width : float
    """
    n = given.shape[2]
    smooth, slopes = group.operation.smooth(width, *np.concatenate([given, whole], axis=2))
    missing = exact - smooth[:, n:]
    share, along = near.share(group.reads)
    return smooth[:, :n] + share * missing, [
        *(np.broadcast_to(slope, smooth.shape)[:, :n] for slope in slopes),
        *(along * missing),
    ]


class _Lattices:
    """The values of C columns, positive integers where they are not given.

    Parameters
    ----------
    values : sequence of (sequence of int, or None)
    """

    def __init__(self, values: Sequence[Sequence[int] | None]) -> None:
        known = [None if v is None else np.unique(np.asarray(v, dtype=np.float64)) for v in values]
        most = max([len(v) for v in known if v is not None], default=1)
        self.free = np.array([v is None for v in known], dtype=bool)
        self.values = np.ones((len(known), most))
        self.middles = np.full((len(known), most - 1), np.inf)
        self.below, self.above = (np.full((len(known), most), 0.5) for _ in range(2))
        for row, one in enumerate(known):
            if one is None or len(one) == 1:
                self.values[row] = 1.0 if one is None else one[0]
                continue
            gaps = np.diff(one)
            self.values[row, : len(one)] = one
            self.middles[row, : len(gaps)] = one[:-1] + gaps / 2
            # Past either end the last gap counts.
            self.below[row, : len(one)] = np.concatenate([gaps[:1], gaps]) / 2
            self.above[row, : len(one)] = np.concatenate([gaps, gaps[-1:]]) / 2


class _Near:
    """The lattice points nearest to configs, and how near those are.

    Parameters
    ----------
    lattices : _Lattices
    columns : float64 array [C, n]

    Attributes
    ----------
    nearest : int64 array [C, n]
    """

    def __init__(self, lattices: _Lattices, columns: FloatArray) -> None:
        place = (columns[:, None] > lattices.middles[:, :, None]).sum(axis=1)
        rows = np.arange(len(columns))[:, None]
        at = lattices.values[rows, place]
        if lattices.free.any():
            at = np.where(lattices.free[:, None], np.maximum(np.rint(columns), 1.0), at)
        off = columns - at
        reach = np.where(off < 0, lattices.below[rows, place], lattices.above[rows, place])
        t = np.minimum(np.abs(off) / reach, 1.0) * np.pi
        # One row more, of what is read by no step.
        self._shares = np.ones((len(columns) + 1, columns.shape[1]))
        self._slopes = np.zeros_like(self._shares)
        self._shares[:-1] = np.cos(t / 2) ** 2
        self._slopes[:-1] = -np.pi / 2 * np.sin(t) * np.sign(off) / reach
        self.nearest = at.astype(np.int64)

    def share(self, reads: IntArray) -> tuple[FloatArray, FloatArray]:
        """λ of steps that read columns [r, k]: [k, n], and its slopes in these [r, k, n]."""
        factors = self._shares.take(reads, axis=0)
        before, after = np.ones_like(factors), np.ones_like(factors)
        np.cumprod(factors[:-1], axis=0, out=before[1:])
        np.cumprod(factors[:0:-1], axis=0, out=after[-2::-1])
        return factors[0] * after[0], before * after * self._slopes.take(reads, axis=0)
