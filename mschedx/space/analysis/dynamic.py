"""Tiles that leave a loop's extent to depend on where the loops around it stand.

A strided read such as ``x[(h + 1) // 2]`` covers the same number of elements at every place of a
tile only when the tile is a multiple of the stride; otherwise TVM makes a loop of varying extent
and ``DisallowDynamicLoop`` rejects the program. The condition is a divisibility of tile sizes,
which is read off the replays: it must hold for all that are constant and fail for all that are
not, also on further configs that are replayed to refute it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mschedx.space.constraints import Constraint, multiple_of
from mschedx.space.expression import IntArray, monomial, multiply, where_at_most

from .probe import Probes, divides, extreme_configs, random_configs, replayed_or_not

if TYPE_CHECKING:
    from mschedx.space.decisions import Design

REASON = "DisallowDynamicLoop"

_ROUNDS, _TRIALS = 6, 24
"""How often a guess is put to the test, and on how many configs each way."""

_LOOKS = 64
"""Replays after which loops of varying extent are taken not to occur."""

_STRIDES = (2, 3, 4)
_EVIDENCE = 6
"""Refused replays below which nothing is concluded."""


def varies(design: Design, rng: np.random.Generator) -> bool:
    """Whether some config's program has a loop of varying extent, as far as replays show.

    Only programs with quotients of block iterators are looked at further, so that the answer is
    cheap for all others.
    """
    first = replayed_or_not(design, design.default_config()[None])
    if first.programs and not divides(first.programs[0]):
        return False
    half = _LOOKS // 2
    configs = [draw(design, half, rng) for draw in (random_configs, extreme_configs)]
    tried = (replayed_or_not(design, config[None]).refused for config in np.concatenate(configs))
    return any(reason == REASON for refused in tried for _, reason in refused)


def constant_loops(
    design: Design, tiles: Sequence[tuple[int, ...]], observed: Probes, rng: np.random.Generator
) -> list[Constraint]:
    """Find the constraints that keep every loop's extent constant.

    Returns
    -------
    list of Constraint
        Empty when no replay had such a loop, or when no guess survives being put to the test:
        then the configs that TVM rejects stay in the space.
    """
    refused = [config for config, reason in observed.refused if reason == REASON]
    accepted = list(observed.configs)
    for _ in range(_ROUNDS):
        if not refused:
            return []
        guess = divisibility(tiles, np.array(accepted), np.array(refused))
        if guess is None:
            return []
        configs = random_configs(design, 100 * _TRIALS, rng)
        failing = np.sum([~c.holds(configs) for c in guess], axis=0)
        inside, nearly = configs[failing == 0][:_TRIALS], configs[failing == 1][:_TRIALS]
        outside = np.concatenate([nearly, configs[failing > 1][: 2 * _TRIALS]])
        tested = [replayed_or_not(design, some) for some in (inside, outside)]
        wrong = [c for c, reason in tested[0].refused if reason == REASON]
        missed = list(tested[1].configs)
        if not wrong and not missed:
            return guess
        refused += wrong
        accepted += missed
    return []


def divisibility(
    tiles: Sequence[tuple[int, ...]], accepted: IntArray, refused: IntArray
) -> list[Constraint] | None:
    """Find the tile sizes that must be multiples of a stride.

    Parameters
    ----------
    tiles : sequence of tuples of int
        The columns of each tile, outermost first.
    accepted, refused : int64 arrays [n, D] and [m, D]
        Configs whose loops are constant, and those with a loop that is not.

    Returns
    -------
    list of Constraint or None
        A conjunction that separates the two exactly; None when there is none, or too few refusals
        to tell.
    """
    if len(refused) < _EVIDENCE:
        return None
    chosen: list[Constraint] = []
    left = np.ones(len(refused), dtype=bool)
    candidates = [c for c in _candidates(tiles) if c.holds(accepted).all()]
    while left.any():
        gains = [int((left & ~c.holds(refused)).sum()) for c in candidates]
        if not gains or max(gains) == 0:
            return None
        best = candidates[int(np.argmax(gains))]
        chosen.append(best)
        left &= best.holds(refused)
    return chosen


def _candidates(tiles: Sequence[tuple[int, ...]]) -> list[Constraint]:
    origin = f"{REASON}: a read with a stride covers as much at every place of this tile"
    inner = [
        monomial(1, dict.fromkeys(tile[start:], 1))
        for tile in tiles
        for start in range(1, len(tile))
    ]
    plain = [multiple_of(size, stride, origin) for size in inner for stride in _STRIDES]
    # Tiles of a single element, of the output and of the window together, span one place only.
    paired = [
        multiple_of(where_at_most(multiply(a, b), 1, stride, a), stride, origin)
        for a in inner
        for b in inner
        if not a.columns & b.columns
        for stride in _STRIDES
    ]
    return plain + paired
