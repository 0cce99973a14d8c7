"""Tiles that leave a loop's extent to depend on where the loops around it stand.

A strided read such as ``x[(h + 1) // 2]`` covers the same number of elements at every place of a
tile only when the tile is a multiple of the stride; otherwise TVM makes a loop of varying extent
and ``DisallowDynamicLoop`` rejects the program. The condition is a divisibility of tile sizes,
which is read off the replays: it must hold for all that are constant and fail for all that are
not, also on further configs that are replayed to refute it. Where TVM's simplifier fails for a
single tile, that row of the tile's table is excluded, once nothing replays with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ...algebra.constraints import Constraint, at_least, multiple_of
from ...algebra.expression import IntArray, add, column, monomial, multiply, where_at_most
from ...errors import DYNAMIC_LOOP
from ...trace.materialize import useful_threads
from ..read.probe import (
    Probes,
    extreme_configs,
    nothing_replays,
    random_configs,
    refusals,
    replayed_or_not,
)
from ..read.quotients import divides, misaligned

if TYPE_CHECKING:
    from ...trace.design import Design

_ROUNDS, _TRIALS = 6, 24
"""How often a guess is put to the test, and on how many configs each way."""

_LOOKS, _DRAWN = 128, 4096
"""Replays, chosen from so many configs to show most rows of every table, after which loops of
varying extent are taken not to occur."""

_STRIDES = (2, 3, 4)
_EVIDENCE = 6
"""Refused replays below which nothing is concluded."""


def survey(design: Design, rng: np.random.Generator, looked: Sequence[IntArray] = ()) -> IntArray:
    """Choose configs [<= `_LOOKS`, D] that show as many rows of the design's tables as they can.

    The first quarter are extreme ones; what ``looked`` at before shows is not shown again.
    """
    drawn = random_configs(design, _DRAWN, rng)
    chosen = [] if len(looked) else [*extreme_configs(design, _LOOKS // 4, rng)]
    every = np.concatenate([drawn, *(config[None] for config in looked)])
    rows = _numbered_rows(design, every)
    seen = np.zeros(rows.max(initial=-1) + 1, dtype=bool)
    seen[rows[len(drawn) :]] = True
    for least in (2, 1):
        at = 0
        while len(chosen) < _LOOKS:
            shows = (~seen[rows[at : len(drawn)]]).sum(axis=1) >= least
            if not shows.any():
                break
            at += int(np.argmax(shows))
            chosen.append(drawn[at])
            seen[rows[at]] = True
    return np.array(chosen, dtype=np.int64).reshape(len(chosen), len(design.decisions))


def _numbered_rows(design: Design, configs: IntArray) -> IntArray:
    """Number the rows of the tiles' tables that configs [n, D] are made of: [n, tiles]."""
    numbers, first = [], 0
    for columns in (list(table.columns) for table in design.tables if len(table.columns) > 1):
        number = np.zeros(len(configs), dtype=np.int64)
        for values in configs[:, columns].T:  # of whole rows, np.unique takes four times as long
            digit = np.unique(values, return_inverse=True)[1].reshape(-1)
            joined = number * (int(digit.max(initial=0)) + 1) + digit
            number = np.unique(joined, return_inverse=True)[1].reshape(-1)
        numbers.append(first + number)
        first += int(number.max(initial=-1)) + 1
    return np.array(numbers, dtype=np.int64).reshape(len(numbers), len(configs)).T


def constant_loops(
    design: Design, rng: np.random.Generator, seen: Probes | None = None
) -> tuple[Constraint, ...]:
    """Find the constraints that keep every loop's extent constant.

    Only programs with quotients of block iterators are looked at further, so that the answer is
    cheap for all others.

    Parameters
    ----------
    design : Design
    rng : numpy.random.Generator
        Draws the configs that are replayed.
    seen : Probes, optional
        Replays made before, at least one of them with a program.

    Returns
    -------
    tuple of Constraint
        Empty when no replay had such a loop, or when no guess survives being put to the test:
        then the configs that TVM rejects stay in the space.
    """
    evidence = _Evidence(design)
    if seen is not None:
        evidence.accepted += list(seen.configs)
        evidence.refused += [config for config, reason in seen.refused if reason == DYNAMIC_LOOP]
    if not evidence.refused:
        some = seen or replayed_or_not(design, design.default_config()[None])
        if some.programs and not divides(some.programs[0], really=True):
            return ()
        if seen is not None and not misaligned(seen.programs):
            return ()
        evidence.gather(survey(design, rng, evidence.accepted))
    if not evidence.accepted:
        raise nothing_replays(evidence.reasons)
    tiles = [table.columns for table in design.tables if len(table.columns) > 1]
    for _ in range(_ROUNDS):
        if not evidence.refused:
            return ()
        accepted, refused = np.array(evidence.accepted), np.array(evidence.refused)
        guess = divisibility(tiles, accepted, refused) or rows(design, accepted, refused, rng)
        if guess is None:
            return ()
        configs = random_configs(design, 100 * _TRIALS, rng)
        failing = np.sum([~c.holds(configs) for c in guess], axis=0)
        inside, nearly = configs[failing == 0][:_TRIALS], configs[failing == 1][:_TRIALS]
        outside = np.concatenate([nearly, configs[failing > 1][: 2 * _TRIALS]])
        _, wrong = evidence.look(inside)
        missed, _ = evidence.look(outside)
        if not wrong and not missed:
            return tuple(guess)
    return ()


@dataclass
class _Evidence:
    """Configs [D] whose loops are constant, and those with a loop that is not."""

    design: Design
    accepted: list[IntArray] = field(default_factory=list)
    refused: list[IntArray] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def look(self, configs: IntArray) -> tuple[int, int]:
        """Replay configs [n, D]; how many were accepted and refused."""
        reasons = refusals(self.design, configs)
        accepted = [config for config, reason in zip(configs, reasons) if not reason]
        refused = [config for config, reason in zip(configs, reasons) if reason == DYNAMIC_LOOP]
        self.accepted += accepted
        self.refused += refused
        self.reasons += filter(None, reasons)
        return len(accepted), len(refused)

    def gather(self, configs: IntArray) -> None:
        """Replay configs [n, D] until there is enough of either kind to guess from."""
        few = 4 * useful_threads()
        for start in range(0, len(configs), few):
            if min(len(self.accepted), len(self.refused)) >= _EVIDENCE:
                break
            self.look(configs[start : start + few])


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


def rows(
    design: Design, accepted: IntArray, refused: IntArray, rng: np.random.Generator
) -> list[Constraint] | None:
    """Find single rows of tables with which nothing replays, and exclude them.

    Parameters
    ----------
    design : Design
    accepted, refused : int64 arrays [n, D] and [m, D]
    rng : numpy.random.Generator
        Draws the configs with a suspected row that are replayed.

    Returns
    -------
    list of Constraint or None
        None when some refusal is not due to a row of a single table.
    """
    found: list[Constraint] = []
    left = refused
    while len(left):
        excluded = next(_excluding(design, accepted, left[0], rng), None)
        if excluded is None:
            return None
        found.append(excluded)
        left = left[excluded.holds(left)]
    return found


def _excluding(
    design: Design, accepted: IntArray, config: IntArray, rng: np.random.Generator
) -> Iterator[Constraint]:
    for table in design.tables:
        columns = list(table.columns)
        row = config[columns]
        if len(columns) < 2 or (accepted[:, columns] == row).all(axis=1).any():
            continue
        drawn = random_configs(design, _DRAWN, rng)
        drawn[:, columns] = row
        for constraint in design.constraints:
            drawn = drawn[constraint.holds(drawn)]
        reasons = refusals(design, drawn[:_TRIALS])
        if len(reasons) >= _EVIDENCE and all(reason == DYNAMIC_LOOP for reason in reasons):
            yield _unlike(columns, row.tolist())


def _unlike(columns: Sequence[int], row: Sequence[int]) -> Constraint:
    """Some factor of the tile is another one."""
    distances = []
    for c, value in zip(columns, row):
        other = where_at_most(value, column(c), 0, 1)
        distances.append(where_at_most(column(c), value, other, 1))
    tile = "x".join(map(str, row))
    return at_least(add(*distances), 1, f"{DYNAMIC_LOOP}: TVM finds no constant extents for {tile}")


def _candidates(tiles: Sequence[tuple[int, ...]]) -> list[Constraint]:
    origin = f"{DYNAMIC_LOOP}: a read with a stride covers as much at every place of this tile"
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
