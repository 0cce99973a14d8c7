"""Which few configs to try: those of which the fastest is expected to be fastest.

The first k of a ranking are much alike, and a prediction that is wrong about one of them is wrong
about all. So each further config is the one that adds most to the expected speed of the fastest,
errors of like configs being alike: the error of ln(1 / seconds) is a Gaussian process over configs,
with a standard deviation and the correlation exp(-d / `REACH`), d the share of the decisions in
which two configs differ (1 between sketches). The expected maximum grows by less with each
config that is added (it is submodular), so that the greedy choice is within 1 - 1/e of the best
(Nemhauser, Wolsey and Fisher, 1978); it is estimated from draws of the process.
"""

from __future__ import annotations

import numpy as np

from .points import FloatArray, IntArray, Points, SketchSet

DEVIATION, REACH = 0.6, 0.4
"""Of PSA's errors in TVM's space, from half the mean squared difference of two configs' errors.

On 54 tasks, among configs that are predicted within three times the best one, that is 0.13 where a
tenth to a fifth of the decisions differ, 0.22 with up to a third, and 0.36 to 0.44 from half on
(docs/benchmarks/ranking.md, "Which few to try"). In mschedx's space it is 0.1 to 0.15 everywhere.
"""

_DRAWS = 512
_JITTER = 1e-6


def by_expected_best(
    log_speed: FloatArray,
    distance: FloatArray,
    count: int,
    rng: np.random.Generator,
    deviation: float = DEVIATION,
) -> IntArray:
    """Order configs by what each adds to the expected speed of the fastest of those before it.

    Parameters
    ----------
    log_speed : float64 array [n]
        Predicted ln(1 / seconds).
    distance : float64 array [n, n]
        From 0 for equal configs to 1, see `distances`.
    count : int
        How many to choose, >= 0; all where there are no more.
    rng : numpy.random.Generator
    deviation : float
        Standard deviation of an error of ``log_speed``, >= 0; with 0 the order is that of
        predictions.

    Returns
    -------
    int64 array [min(count, n)]
        Positions; the first is that of the best prediction.
    """
    n = len(log_speed)
    if not n or count <= 0:
        return np.empty(0, dtype=np.int64)
    alike = np.exp(-distance / REACH) + _JITTER * np.eye(n)
    errors = np.linalg.cholesky(alike) @ rng.standard_normal((n, _DRAWS))
    drawn = log_speed[:, None] + deviation * errors
    chosen = [int(np.argmax(log_speed))]
    fastest = drawn[chosen[0]]
    left = np.ones(n, dtype=bool)
    while len(chosen) < min(count, n):
        left[chosen[-1]] = False
        gain = np.maximum(drawn - fastest, 0.0).mean(axis=1)
        # Of those that add nothing in any draw, the best predicted.
        rank = np.lexsort((log_speed, gain, left))
        chosen.append(int(rank[-1]))
        fastest = np.maximum(fastest, drawn[chosen[-1]])
    return np.array(chosen, dtype=np.int64)


def distances(points: Points, space: SketchSet) -> FloatArray:
    """Share of the decisions in which points [n] differ: float64 [n, n], 1 between sketches."""
    apart = np.ones((len(points), len(points)))
    for s in np.unique(points.sketch).tolist():
        own = np.flatnonzero(points.sketch == s)
        configs = points.configs[own, : len(space.sketches[s].names)]
        share = np.zeros((len(own), len(own)))
        for column in configs.T:
            share += column[:, None] != column
        apart[np.ix_(own, own)] = share / max(configs.shape[1], 1)
    return apart
