"""A score whose slope is worked out now and then, and goes on in between.

On a staircase a slope is the difference of two values for each decision: an analyzer's costs forty
times what a network's does. The steps of a descent are short and get shorter, so that the slope of
one step is nearly that of the next.
"""

from __future__ import annotations

import torch

from .descent import Score


class Lagging:
    """A `Score` that asks another at every ``every``-th call only.

    In between it is the plane, over logarithms, that touched that other where it was asked last:
    its values are not to be compared, its slopes are.

    Parameters
    ----------
    score : callable
        See `Score`.
    every : int
        >= 1; 1 asks always.
    """

    def __init__(self, score: Score, every: int) -> None:
        self._score, self._every = score, every
        self._calls = 0
        self._slope: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor, width: float) -> torch.Tensor:
        due = self._calls % self._every == 0
        self._calls += 1
        if not due and self._slope is not None and self._slope.shape == x.shape:
            # Choices may be 0, and have no slope.
            return (self._slope * x.clamp(min=0.5).log()).sum(dim=1)
        at = x.detach().requires_grad_()
        value = self._score(at, width)
        slope = torch.zeros_like(at)
        if value.requires_grad:
            (slope,) = torch.autograd.grad(
                value.sum(), [at], allow_unused=True, materialize_grads=True
            )
        self._slope = slope * at.detach()
        return value.detach() + (slope * (x - x.detach())).sum(dim=1)
