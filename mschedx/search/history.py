"""What a task's search knows from measurements."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .points import BoolArray, FloatArray, Points, SketchSet


@dataclass
class History:
    """Measured points of one task and everything that need not be proposed again.

    Parameters
    ----------
    points : Points [n]
        In the order they were measured.
    latency_s : float64 array [n]
        Seconds, > 0; ``inf`` for a trial that failed to build or run.
    tried : set of bytes
        Keys (`Points.codes`) of points that are measured, being measured, known not to
        materialise, known to give a program that another point gives too, or held back.
    """

    points: Points
    latency_s: FloatArray
    tried: set[bytes] = field(default_factory=set)

    @classmethod
    def of(cls, space: SketchSet) -> History:
        """Nothing measured yet."""
        return cls(space.empty(), np.empty(0))

    def __len__(self) -> int:
        return len(self.points)

    @property
    def succeeded(self) -> BoolArray:
        """Which trials ran; bool [n]."""
        return np.isfinite(self.latency_s)

    @property
    def best_s(self) -> float:
        """Least latency so far in seconds; ``inf`` when nothing has run."""
        return float(self.latency_s.min(initial=np.inf))

    def add(self, points: Points, latency_s: FloatArray) -> None:
        """Append results [m]; failed trials carry ``inf``.

        Raises
        ------
        ValueError
            For another number of latencies than points, and those that are nan or not > 0.
        """
        latency_s = np.asarray(latency_s, dtype=np.float64)
        if len(points) != len(latency_s):
            raise ValueError(f"expected {len(points)} latencies, got {len(latency_s)}")
        if np.isnan(latency_s).any() or (latency_s <= 0).any():
            raise ValueError("expected latencies > 0 in seconds (inf for a failed trial)")
        self.points = Points.concatenate([self.points, points])
        self.latency_s = np.concatenate([self.latency_s, latency_s])
        self.tried.update(points.codes())

    def best(self, count: int) -> Points:
        """Return the ``count`` fastest points that ran, fastest first."""
        order = np.argsort(self.latency_s, kind="stable")[:count]
        return self.points.take(order[self.succeeded[order]])
