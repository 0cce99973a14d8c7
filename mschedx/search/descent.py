"""Gradient descent from many configs of several sketches at once.

Adam in ``u = log2 x``; smoothings narrow and steps shorten on the way. The slope of a config is
that of its cost plus that of its penalty, which is rescaled to a fixed multiple of the cost's norm
first: no weight has to be chosen, and a broken constraint always leads.

References
----------
Zhao et al., "Felix", ASPLOS 2024, section 3.4; github uiuc-arc/felix.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .relaxed_sketch import FloatArray, IntArray, RelaxedSketch

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.search")

Score = Callable[[torch.Tensor, float], torch.Tensor]
"""Takes points [n, D] and the width of smoothings, returns scores [n], higher being better."""

_DECAY = (0.9, 0.999)
_SMALL = 1e-8


@dataclass(frozen=True)
class Annealing:
    """Rate and smoothing of a descent, from its first step to its last.

    Parameters
    ----------
    steps : int
    rate, last_rate : float
        Adam's learning rate, octaves; in between it falls by a constant factor a step.
    width, last_width : float
        Of the smoothings, in (0, 1]; the same.
    penalty : float
        Norm of the penalty's slope over that of the cost's.
    """

    steps: int
    rate: float
    last_rate: float
    width: float
    last_width: float
    penalty: float

    def at(self, step: int) -> tuple[float, float]:
        """Rate and width of a step."""
        done = step / max(self.steps - 1, 1)
        rate = self.rate * (self.last_rate / self.rate) ** done
        return rate, self.width * (self.last_width / self.width) ** done


@dataclass
class Group:
    """Configs of one sketch that go down together.

    Parameters
    ----------
    region : RelaxedSketch
    score : callable
        See `Score`.
    starts : int64 array [n, D]
    reach : float64 array [n], optional
        How far, in octaves, each factor may move from where it started; anywhere when None.
    """

    region: RelaxedSketch
    score: Score
    starts: IntArray
    reach: FloatArray | None = None

    def __post_init__(self) -> None:
        self.fixed = self.starts.astype(np.float64)
        self.logs = np.log2(np.maximum(self.fixed, 1.0))
        self._first, self._second = np.zeros_like(self.logs), np.zeros_like(self.logs)
        self._box = None if self.reach is None else self.region.near(self.logs, self.reach)

    @property
    def points(self) -> FloatArray:
        """Where the configs are now, [n, D]."""
        return np.where(self.region.movable, np.exp2(self.logs), self.fixed)

    def step(self, slope: FloatArray, rate: float, number: int) -> None:
        """Take one step of Adam down slopes [n, D]."""
        self._first = _DECAY[0] * self._first + (1 - _DECAY[0]) * slope
        self._second = _DECAY[1] * self._second + (1 - _DECAY[1]) * slope**2
        first = self._first / (1 - _DECAY[0] ** number)
        second = self._second / (1 - _DECAY[1] ** number)
        moved = self.logs - rate * first / (np.sqrt(second) + _SMALL)
        self.logs = self.region.project(moved, self._box)


def descend(groups: Sequence[Group], annealing: Annealing) -> list[FloatArray]:
    """Go down from all starts of all groups.

    Parameters
    ----------
    groups : sequence of Group
        Adam's moments are theirs: fresh ones start afresh.
    annealing : Annealing

    Returns
    -------
    list of float64 array [steps · n, D]
        Every point passed, the last ones first: those a search wants to keep.
    """
    passed: list[list[FloatArray]] = [[] for _ in groups]
    lost = 0
    for step in range(annealing.steps):
        rate, width = annealing.at(step)
        points = [torch.tensor(group.points, requires_grad=True) for group in groups]
        cost = [-group.score(x, width).sum() for group, x in zip(groups, points)]
        down = _slopes(sum(cost[1:], cost[0]), points)
        broken = [group.region.penalty(x, width).sum() for group, x in zip(groups, points)]
        back = _slopes(sum(broken[1:], broken[0]), points)
        for group, own, other, kept in zip(groups, down, back, passed):
            slope, bad = _combined(group.region, own, other, annealing.penalty)
            lost += bad
            group.step(slope, rate, step + 1)
            kept.append(group.points)
    if lost:
        logger.warning(
            "%d of %d slopes were not finite and moved nothing",
            lost,
            annealing.steps * sum(len(group.starts) for group in groups),
        )
    return [np.concatenate(some[::-1]) for some in passed]


def _slopes(total: torch.Tensor, points: Sequence[torch.Tensor]) -> list[FloatArray]:
    """Slopes of a total in ``log2 x``, by group."""
    if not total.requires_grad:
        return [np.zeros(tuple(x.shape)) for x in points]
    found = torch.autograd.grad(total, list(points), allow_unused=True, materialize_grads=True)
    return [(slope * x.detach() * math.log(2)).numpy() for slope, x in zip(found, points)]


def _combined(
    region: RelaxedSketch, cost: FloatArray, penalty: FloatArray, weight: float
) -> tuple[FloatArray, int]:
    """Slopes to follow [n, D], 0 where one is not finite, and how many those are."""
    finite = np.isfinite(np.concatenate([cost, penalty], axis=1)).all(axis=1)
    finite = np.asarray(finite, dtype=bool)
    cost, penalty = (
        region.tangent(np.where(finite[:, None], slope, 0.0)) for slope in (cost, penalty)
    )
    norm, other = (np.linalg.norm(slope, axis=1, keepdims=True) for slope in (cost, penalty))
    # Where the cost is flat, a broken constraint leads alone.
    scale = weight * np.where(norm > 0, norm, 1.0)
    share = np.divide(scale, other, out=np.zeros_like(other), where=other > 0)
    return cost + share * penalty, int((~finite).sum())
