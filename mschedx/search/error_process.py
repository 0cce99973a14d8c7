"""Errors of a score as a Gaussian process: what measured configs say of those that are like them.

A model that was trained elsewhere is wrong about some tasks in the same way for hundreds of trials:
it holds one tile for the fastest, and measuring its neighbours moves it little. So the logarithm of
the speed, y = ln(1 / seconds), is taken to be::

    y(x) = a + b · s(x) + c(sketch of x) + e(x)

with s the score, a, b and c of each sketch normal, and e a Gaussian process, whose correlation
between two configs is exp(-d / reach), d the share of the decisions in which they differ (1 between
sketches, `expected_best.distances`). What
follows from the measurements is textbook (Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006: equations 2.23 and 2.24, and 2.30 for how large e is and how far it reaches, which
is that of a few under which the measurements are likeliest). Where nothing like a config was
measured, its score speaks alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .expected_best import distances
from .points import FloatArray, Points, SketchSet

SLOPE, SLOPE_DEVIATION = 0.6, 0.3
"""b: what ln(1 / seconds) gains with a standard deviation of the score; by hand."""

_LEVEL_DEVIATION = 3.0
"""a, around the mean of the measurements."""

_SKETCH_DEVIATION = 0.2
"""c; by hand."""

_NOISE = 0.03
"""Two measurements of one program differ by some per cent (docs/benchmarks.md)."""

_DEVIATIONS = (0.1, 0.2, 0.4, 0.8)
_REACHES = (0.2, 0.4, 0.8)
"""Of e, of which the likeliest are taken."""

_LEAST = 8
"""Measurements that tell how large errors are; by hand."""

_PRIOR = (0.3, 0.4)
"""Its deviation and reach where they do not: between PSA's in TVM's space and in mschedx's."""


@dataclass(frozen=True)
class ErrorProcess:
    """What follows from measurements of a task for configs of which there is a score.

    Parameters
    ----------
    points : Points [n]
        Measured ones, from which others are so far away (`distances`).
    scores : float64 array [n]
        Of them.
    level : float
        Mean of their ln(1 / seconds).
    deviation, reach : float
        Of e, both > 0.
    factor : float64 array [n, n]
        Inverse of Cholesky's factor of the covariance of the measurements.
    weights : float64 array [n]
        That covariance's inverse times what level and scores do not explain.
    log_likelihood : float
        Of the measurements, but for a constant.
    """

    points: Points
    scores: FloatArray
    level: float
    deviation: float
    reach: float
    factor: FloatArray
    weights: FloatArray
    log_likelihood: float

    @classmethod
    def of(
        cls, space: SketchSet, points: Points, scores: FloatArray, latency_s: FloatArray
    ) -> ErrorProcess:
        """Fit to measured points [n], n >= 0; it takes their cube.

        Parameters
        ----------
        scores : float64 array [n]
            On a scale of which a standard deviation is 1 among the configs of the task.
        latency_s : float64 array [n]
            Seconds, finite.
        """
        log_speed = -np.log(latency_s)
        level = float(log_speed.mean()) if len(points) else 0.0
        unexplained = log_speed - level - SLOPE * scores
        apart = distances(points, points, space)
        line = _line(points, scores, points, scores) + _NOISE**2 * np.eye(len(points))
        sizes = list(itertools.product(_DEVIATIONS, _REACHES))
        likelihoods, factors = [], []
        for deviation, reach in sizes if len(points) >= _LEAST else [_PRIOR]:
            lower = np.linalg.cholesky(line + deviation**2 * np.exp(-apart / reach))
            rest = np.linalg.solve(lower, unexplained)
            likelihoods.append(-0.5 * float(rest @ rest) - float(np.log(np.diag(lower)).sum()))
            factors.append(lower)
        best = int(np.argmax(likelihoods))
        deviation, reach = sizes[best] if len(points) >= _LEAST else _PRIOR
        factor = np.linalg.inv(factors[best])
        weights = factor.T @ (factor @ unexplained)
        return cls(points, scores, level, deviation, reach, factor, weights, likelihoods[best])

    def mean(self, points: Points, scores: FloatArray, apart: FloatArray) -> FloatArray:
        """Expected ln(1 / seconds) of points [m] with scores [m], `distances` [n, m] away: [m]."""
        between = self._between(points, scores, apart)
        return self.level + SLOPE * scores + between.T @ self.weights

    def draws(
        self,
        points: Points,
        scores: FloatArray,
        apart: FloatArray,
        among: FloatArray,
        count: int,
        rng: np.random.Generator,
    ) -> FloatArray:
        """What ln(1 / seconds) of points [m] may be together: float64 [m, count].

        They are ``apart`` [n, m] from what was measured and ``among`` [m, m] from each other.
        """
        known = self.factor @ self._between(points, scores, apart)
        own = self.deviation**2 * np.exp(-among / self.reach)
        covariance = _line(points, scores, points, scores) + own - known.T @ known
        jitter = 1e-6 * self.deviation**2 + 1e-9
        lower = np.linalg.cholesky(covariance + jitter * np.eye(len(points)))
        expected = self.mean(points, scores, apart)
        return expected[:, None] + lower @ rng.standard_normal((len(points), count))

    def _between(self, points: Points, scores: FloatArray, apart: FloatArray) -> FloatArray:
        """Covariance of ln(1 / seconds) of what was measured and points [m]: [n, m]."""
        errors = self.deviation**2 * np.exp(-apart / self.reach)
        return _line(self.points, self.scores, points, scores) + errors


def _line(points: Points, scores: FloatArray, others: Points, theirs: FloatArray) -> FloatArray:
    """Covariance of a + b · s + c of points [n] and others [m]: [n, m]."""
    same = points.sketch[:, None] == others.sketch
    line = _LEVEL_DEVIATION**2 + SLOPE_DEVIATION**2 * np.outer(scores, theirs)
    return line + _SKETCH_DEVIATION**2 * same
