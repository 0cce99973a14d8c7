"""Expressions of real numbers: exact on the lattice of configs, smooth and never stuck between.

A smoothing (`operations`) is right on average and wrong at most integers: ``⌈7 / 2⌉`` is 4, its
line says 3.75. Every step of that kind is therefore corrected by what it misses at the nearest
lattice point x*, faded out with the distance to it::

    f(x) = S(x) + λ(x) · (f(x*) − S(x*)),    λ(x) = Π_d cos²(π/2 · t_d)

where ``t_d`` in [0, 1] is the distance of ``x_d`` from ``x*_d`` over that to half way to the next
lattice value, d ranges over the decisions that the step reads, and ``S(x*)`` takes exact values in.
λ is 1 at lattice points and 0 half way between them, with slope 0 at both. So f is continuously
differentiable wherever S is, equal to the exact value on the lattice, and has the slope of S there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from .tape import Tape


class Relaxed:
    """A tape on real numbers.

    Parameters
    ----------
    tape : Tape
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._lattice = {
            c: np.unique(np.asarray(tape.lattice[c], dtype=np.float64))
            for c in tape.columns
            if c in tape.lattice
        }
        reads: list[frozenset[int]] = [frozenset({c}) for c in tape.columns]
        for _, places, _ in tape.steps:
            reads.append(frozenset().union(*(reads[place] for place in places)))
        self._reads = reads

    def __call__(self, x: torch.Tensor, width: float) -> torch.Tensor:
        """Evaluate on configs [n, D]; float64 [E, n]. See `Tape.relaxed`."""
        if not 0 < width <= 1:
            raise ValueError(f"expected width in (0, 1], got {width}")
        if not x.dtype.is_floating_point or x.ndim != 2:
            raise ValueError(f"expected real-valued configs [n, D], got {x.dtype} {tuple(x.shape)}")
        tape = self._tape
        columns = {c: x[:, c].double() for c in tape.columns}
        nearest, nearness = self._nearest(columns)
        exact = self._exact(nearest, len(x))
        values: list[torch.Tensor] = list(columns.values())
        for place, (operation, places, value) in enumerate(tape.steps, start=len(values)):
            if operation is None:
                values.append(x.new_full((len(x),), float(value), dtype=torch.float64))
                continue
            smooth = operation.smooth(width, *(values[p] for p in places))
            if operation.rough:
                with torch.no_grad():
                    at, *whole = (_tensor(exact[p], x) for p in (place, *places))
                    missing = at - operation.smooth(width, *whole)
                smooth = smooth + _faded(nearness, self._reads[place]) * missing
            values.append(smooth)
        if not tape.wanted:
            return x.new_empty((0, len(x)), dtype=torch.float64)
        return torch.stack([values[place] for place in tape.wanted])

    def _nearest(
        self, columns: dict[int, torch.Tensor]
    ) -> tuple[dict[int, Any], dict[int, torch.Tensor]]:
        """The nearest lattice values as int64 arrays [n], and cos²(π/2 · t), by column."""
        nearest, nearness = {}, {}
        for c, values in columns.items():
            seen = values.detach().cpu().numpy()
            if c in self._lattice:
                value, half = _on_lattice(seen, self._lattice[c])
            else:
                value = np.maximum(np.rint(seen), 1.0)
                half = np.full_like(seen, 0.5)
            nearest[c] = value.astype(np.int64)
            at, reach = torch.from_numpy(value).to(values), torch.from_numpy(half).to(values)
            t = ((values - at) / reach).abs().clamp(max=1.0)
            nearness[c] = (torch.pi / 2 * t).cos() ** 2
        return nearest, nearness

    def _exact(self, nearest: dict[int, Any], n: int) -> list[Any]:
        """Values of every place at the nearest lattice points: int64 [n], scalars for constants."""
        configs = np.ones((n, max(nearest, default=-1) + 1), dtype=np.int64)
        for c, value in nearest.items():
            configs[:, c] = value
        return self._tape.values(configs)


def _tensor(values: Any, like: torch.Tensor) -> torch.Tensor:
    """Exact values as a float64 tensor [n]."""
    whole = np.broadcast_to(values, len(like)).astype(np.float64)
    return torch.from_numpy(whole).to(like.device)


def _on_lattice(seen: Any, lattice: Any) -> tuple[Any, Any]:
    """The nearest lattice value, and half the gap to its neighbour on the side of ``seen``."""
    if len(lattice) == 1:
        return np.full_like(seen, lattice[0]), np.full_like(seen, 0.5)
    middles = (lattice[1:] + lattice[:-1]) / 2
    position = np.searchsorted(middles, seen)
    value = lattice[position]
    gaps = np.diff(lattice)
    below, above = gaps[np.maximum(position - 1, 0)], gaps[np.minimum(position, len(gaps) - 1)]
    return value, np.where(seen < value, below, above) / 2


def _faded(nearness: dict[int, torch.Tensor], columns: frozenset[int]) -> torch.Tensor | float:
    product: torch.Tensor | float = 1.0
    for c in sorted(columns):
        product = product * nearness[c]
    return product
