"""Which few configs to try: those of which the fastest is expected to be fastest.

The first k of a ranking are much alike, and a prediction that is wrong about one of them is wrong
about all. So each further config is the one that adds most to the expected speed of the fastest,
errors of like configs being alike: the error of ln(1 / seconds) is a Gaussian process over configs,
with a standard deviation and the correlation exp(-d / `REACH`), d the share of the decisions in
which two configs differ (1 between sketches). Of several opinions any may be the right one, with
equal chances: each is the mean of the process in its share of the draws. The expected maximum grows
by less with each config that is added (it is submodular), so that the greedy choice is within
1 - 1/e of the best (Nemhauser, Wolsey and Fisher, 1978); it is estimated from draws of the process.
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

DRAWS = 512
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
    log_speed : float64 array [n] or [m, n]
        Predicted ln(1 / seconds), of one opinion or of m.
    distance : float64 array [n, n]
        From 0 for equal configs to 1, see `distances`.
    count : int
        How many to choose, >= 0; all where there are no more.
    rng : numpy.random.Generator
    deviation : float
        Standard deviation of an error of ``log_speed``, >= 0; with 0 the order is that of the
        predictions of one opinion.

    Returns
    -------
    int64 array [min(count, n)]
        Positions; the first is that of the (first opinion's) best prediction.
    """
    opinions = np.atleast_2d(log_speed)
    n = opinions.shape[1]
    if not n or count <= 0:
        return np.empty(0, dtype=np.int64)
    alike = np.exp(-distance / REACH) + _JITTER * np.eye(n)
    errors = np.linalg.cholesky(alike) @ rng.standard_normal((n, DRAWS))
    believed = opinions[np.arange(DRAWS) * len(opinions) // DRAWS].T
    return greedily(believed + deviation * errors, opinions[0], count)


def greedily(
    drawn: FloatArray, log_speed: FloatArray, count: int, fastest: float | None = None
) -> IntArray:
    """Choose one by one what adds most to the mean of the greatest, over draws.

    Parameters
    ----------
    drawn : float64 array [n, draws]
        What ln(1 / seconds) may be.
    log_speed : float64 array [n]
        What it is expected to be, which decides where draws do not.
    count : int
        How many to choose; all where there are no more.
    fastest : float, optional
        ln(1 / seconds) of what is there already; when None, the best expected is chosen first.

    Returns
    -------
    int64 array [min(count, n)]
        Positions.
    """
    chosen: list[int] = []
    left = np.ones(len(drawn), dtype=bool)
    greatest = np.full(drawn.shape[1], -np.inf if fastest is None else fastest)
    while len(chosen) < min(count, len(drawn)):
        if fastest is None and not chosen:
            best = int(np.argmax(log_speed))
        else:
            gain = np.maximum(drawn - greatest, 0.0).mean(axis=1)
            # Of those that add nothing in any draw, the best predicted.
            best = int(np.lexsort((log_speed, gain, left))[-1])
        chosen.append(best)
        left[best] = False
        greatest = np.maximum(greatest, drawn[best])
    return np.array(chosen, dtype=np.int64)


def distances(points: Points, others: Points, space: SketchSet) -> FloatArray:
    """Share of the decisions in which points [n] and others [m] differ: float64 [n, m].

    It is 1 between sketches.
    """
    apart = np.ones((len(points), len(others)))
    for s in np.intersect1d(points.sketch, others.sketch).tolist():
        rows = np.flatnonzero(points.sketch == s)
        columns = np.flatnonzero(others.sketch == s)
        depth = space.depths[s]
        own, theirs = points.configs[rows, :depth], others.configs[columns, :depth]
        differing = np.zeros((len(rows), len(columns)), dtype=np.int16)
        for one, other in zip(own.T, theirs.T):
            differing += one[:, None] != other
        apart[np.ix_(rows, columns)] = differing / max(depth, 1)
    return apart
