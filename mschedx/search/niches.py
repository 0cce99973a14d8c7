"""Niches: kinds of points that a selection keeps some of each, so that it is not one point varied.

A niche is a sketch and, of the statement that computes most, how its work is cut: what cores or
thread blocks share, what a thread keeps in registers, threads of a block; each in steps of four.
Of a task with more than `MOST_ANALYSED` sketches a niche is a sketch.

Notation
--------
n : number of points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mschedx.cost.base import MOST_ANALYSED
from mschedx.space.algebra.expression import Expression
from mschedx.space.algebra.tape import Tape

from .points import IntArray, Points, SketchSet
from .pool import Scored

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch
    from mschedx.space.statements import Statement

_STEP = 2.0
"""Width of a niche in each number, log2."""


class Niches:
    """The niches of a task.

    Parameters
    ----------
    space : SketchSet
    """

    def __init__(self, space: SketchSet) -> None:
        self._space = space
        self._deep = len(space) <= MOST_ANALYSED
        self._tapes: dict[int, Tape] = {}

    def of(self, points: Points) -> IntArray:
        """Number the niches of points [n]; equal numbers mean one niche."""
        codes = np.zeros((len(points), 4), dtype=np.int64)
        codes[:, 0] = points.sketch
        for s, positions, configs in self._space.groups(points):
            values = self._tape(s)(configs)
            steps = np.floor(np.log2(np.maximum(values, 1)) / _STEP)
            codes[positions, 1 : 1 + len(values)] = steps.T
        return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)

    def _tape(self, s: int) -> Tape:
        if s not in self._tapes:
            self._tapes[s] = Tape(cuts(self._space.sketches[s]) if self._deep else [])
        return self._tapes[s]


def cuts(sketch: Sketch) -> list[Expression]:
    """The expressions by which niches of a sketch differ, at most three."""
    main = _main(sketch)
    if main is None:
        return []
    reductions = [i for i, loop in enumerate(main.loops) if loop.role in ("reduction", "mixed")]
    inside = reductions[-1] + 1 if reductions else max(len(main.loops) - 1, 0)
    shared = main.parallel_extent(), main.thread_extent("blockIdx")
    work = [e for e in shared if e is not None and e.columns]
    found = [*work[:1], main.trips(inside, len(main.loops)), main.thread_extent("threadIdx")]
    return [expression for expression in found if expression is not None]


def spread(scored: Scored, niches: IntArray, count: int, share: float) -> Scored:
    """Take the best ``count``, at most a share of them from one niche while others have any.

    Parameters
    ----------
    scored : Scored
        n points.
    niches : int64 array [n]
    count : int
    share : float
        In (0, 1]; 1 takes the best whatever they are.

    Returns
    -------
    Scored
        Best first.
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share in (0, 1], got {share}")
    order = np.argsort(-scored.scores, kind="stable")
    own = niches[order]
    # The how-manieth of its niche each point is: niches side by side, in order of score within.
    grouped = np.argsort(own, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(own[grouped]) != 0])
    place = np.empty(len(own), dtype=np.int64)
    sizes = np.diff(np.r_[starts, len(own)])
    place[grouped] = np.arange(len(own)) - np.repeat(starts, sizes) if len(own) else grouped
    late = place >= max(1, round(share * count))
    chosen = order[np.argsort(late, kind="stable")][:count]
    return scored.take(chosen).best(count)


def _main(sketch: Sketch) -> Statement | None:
    """The statement that computes most at the first value of every decision."""
    first = np.array([[d.domain[0] for d in sketch.decisions]], dtype=np.int64)

    def work(statement: Statement) -> int:
        instances = statement.instances
        if instances is None:
            return 0
        return int(instances(first)[0]) * (1 + sum(statement.operations.values()))

    return max(sketch.statements, key=work, default=None)
