"""Which configs to replay: those that show what too few programs would show otherwise.

A loop's part in a program is seen where the loop runs, and of some factors few random tiles have
any but 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...algebra.expression import IntArray
from .integers import Solver
from .symbolic import Gap

_IN_THE_PLANE = 1e-9
"""Squared distance of logarithms that is rounding."""

_MOST = 48
"""How many configs are chosen at most before anything has been replayed."""


def foreseen(
    tiles: Sequence[tuple[int, ...]], categories: Sequence[int], known: IntArray, drawn: IntArray
) -> IntArray:
    """Choose configs [k, D] that close the gaps which replays of ``known`` [n, D] would leave.

    Of every factor, configs in which it exceeds 1 should outnumber the directions that they span.

    Parameters
    ----------
    tiles, categories : sequences
        As of `Solver`.
    known : int64 array [n, D]
    drawn : int64 array [m, D]
        What is chosen from.
    """
    solver, gaps = Solver(known, tiles, categories), []
    for column in (c for tile in tiles for c in tile):
        where = drawn[:, column] > 1
        lacking = solver.lacking(known[:, column] > 1, drawn[where]) if where.any() else 0
        if lacking:
            gaps.append(Gap(where, lacking))
    chosen = showing(gaps, drawn, _MOST)
    return np.array(chosen, dtype=np.int64).reshape(len(chosen), drawn.shape[1])


def showing(gaps: Sequence[Gap], unseen: IntArray, count: int) -> list[IntArray]:
    """Choose at most ``count`` configs of ``unseen`` [n, D] that close gaps, most at a time.

    A monomial is a plane over the decisions' logarithms: those come first that are no combination
    of the ones before.
    """
    where = np.array([gap.where for gap in gaps], dtype=np.int64).reshape(len(gaps), len(unseen))
    lacking = np.array([gap.lacking for gap in gaps], dtype=np.int64)
    beside = np.column_stack([np.ones(len(unseen)), np.log(np.maximum(unseen, 1))])
    chosen: list[int] = []
    while len(chosen) < count:
        closes = (lacking > 0) @ where
        if not closes.any():
            break
        lengths = np.square(beside).sum(axis=1)
        order = np.lexsort((-lengths, -closes, lengths < _IN_THE_PLANE, closes == 0))
        best = int(order[0])
        chosen.append(best)
        lacking -= where[:, best]
        where[:, best] = 0
        if lengths[best] >= _IN_THE_PLANE:
            direction = beside[best] / np.sqrt(lengths[best])
            beside -= np.outer(beside @ direction, direction)
    return list(unseen[chosen])
