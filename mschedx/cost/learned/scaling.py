"""Scaling of columns before a network sees them; stored with the network's weights.

Notation
--------
F : number of columns.
"""

from __future__ import annotations

import torch
from torch import nn


class Scaling(nn.Module):
    """``(x − shift) / scale`` per column, as it was when the network was first trained.

    Parameters
    ----------
    columns : int
        F.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale rows [..., F]."""
        return (x - self.shift.to(x.dtype)) / self.scale.to(x.dtype)

    def standardise(self, rows: torch.Tensor) -> None:
        """Give these rows [m, F] the mean 0, and the deviation 1 where it was greater.

        Columns are logarithms to base 2 or flags: a deviation below 1 is less than a factor of 2,
        and a column that is constant here may vary in the next task.
        """
        rows = _checked(rows, len(self.shift)).double()
        self.shift.copy_(rows.mean(dim=0))
        self.scale.copy_(rows.std(dim=0, correction=0).clamp(min=1.0))

    def by_maximum(self, rows: torch.Tensor) -> None:
        """Divide by the greatest value of each column where that is positive, as published."""
        rows = _checked(rows, len(self.shift))
        greatest = rows.amax(dim=0)
        self.shift.zero_()
        self.scale.copy_(torch.where(greatest > 0, greatest, torch.ones_like(greatest)))


def _checked(rows: torch.Tensor, columns: int) -> torch.Tensor:
    if rows.ndim != 2 or rows.shape[1] != columns or not len(rows):
        raise ValueError(f"expected rows [m, {columns}], m > 0, got {tuple(rows.shape)}")
    return rows
