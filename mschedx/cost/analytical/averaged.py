"""Slopes of a function that has corners and steps: those of its average over a box.

The analyzers count whole vectors, fullest cores and least footprints: along most decisions their
value is a staircase, whose slope is zero almost everywhere and says nothing. The average over a
box, h octaves to either side along one decision, has the slope ::

    d/du mean f(u + [−h, h]) = (f(u + h) − f(u − h)) / 2h ,    u = log2 x ,

which costs two more values per decision and is never blind to a step within reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_LEAST = 1e-3
"""Octaves below which a difference is mostly rounding."""


def with_average_slope(
    x: torch.Tensor,
    function: Callable[[FloatArray], FloatArray],
    width: float,
    along: Sequence[int] | None = None,
) -> torch.Tensor:
    """Evaluate a function of real-valued configs, with the slope of its average.

    Parameters
    ----------
    x : floating-point tensor [n, D]
        >= 0; where it is 0 the slope is too.
    function : callable
        float64 array [m, D] to [m], for any m.
    width : float
        h, in octaves, > 0.
    along : sequence of int, optional
        The decisions that the function hangs on, by column; along the others its slope is 0. All
        when None.

    Returns
    -------
    float64 tensor [n]
        The function's values; differentiable in ``x``.
    """
    columns = list(range(x.shape[1]) if along is None else along)
    value = _AverageSlope.apply(x, function, max(width, _LEAST), columns)
    assert isinstance(value, torch.Tensor)
    return value


class _AverageSlope(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        function: Callable[[FloatArray], FloatArray],
        width: float,
        along: list[int],
    ) -> torch.Tensor:
        at = x.detach().double().numpy()
        n, decisions = at.shape
        steps = np.ones((len(along), decisions))
        steps[np.arange(len(along)), along] = 2.0**width
        around = np.concatenate([
            at[None],
            at[None] * steps[:, None, :],
            at[None] / steps[:, None, :],
        ])  # fmt: skip
        values = function(around.reshape(len(around) * n, decisions)).reshape(len(around), n)
        rise = values[1 : 1 + len(along)] - values[1 + len(along) :]
        slope, here = np.zeros_like(at), at[:, along]
        # Zero is a choice, such as not to unroll: there is no octave around it.
        per_octave = np.where(here > 0, rise.T / (2 * width), 0.0)
        slope[:, along] = per_octave / (np.where(here > 0, here, 1.0) * math.log(2))
        ctx.save_for_backward(torch.from_numpy(slope).to(x.dtype))
        return torch.from_numpy(values[0].copy())

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * upstream[0].to(slope.dtype)[:, None], None, None, None
