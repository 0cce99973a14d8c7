"""Sketches opened a few at a time: what a round does not sample from need not be known yet.

Before a sketch can be sampled from, its constraints must be known, and that is replays: tenths of a
second, seconds where tiles leave loops of varying extent. A design space with compute locations is
dozens of sketches, of which a first round measures a handful. So every design space begins with one
sketch, and every further round opens one more of each until all are. Where points are scored before
anything is measured, every open sketch is analysed before the first trial, at twice the cost of
opening it: there a task of many sketches begins with one of any design space (`GrowingSet.begin`),
from which only a few candidates are taken (`TaskSearch.next_batch`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mschedx.space.errors import NOT_SEARCHABLE, EmptySpace
from mschedx.space.trace.splitting import refused_somewhere
from mschedx.told import pass_on

from .base import logger
from .points import IntArray, SketchSet

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task


_DRAWN_AT_ONCE = 1024
"""About as many configs as a round of a search draws from one sketch."""


class GrowingSet(SketchSet):
    """A task's sketches, of which more and more are open.

    The order within a design space is drawn once: one without replacement, in which the next is
    any of those left in proportion to the rows of its tables, so that what is open early is what a
    uniform sample from all of them would mostly have come from.

    Parameters
    ----------
    sketches, spaces, task
        As of `SketchSet`.
    rng : numpy.random.Generator
        Draws the order; left alone where no design space has two sketches.
    narrowed : callable, optional
        Makes of a sketch the one that is sampled from; raises what says that there is none
        (`EmptySpace`, `InvalidSchedule`, `UnsupportedTrace`).

    Attributes
    ----------
    refused : dict of int to str
        Sketches that have no valid config, or none that replays, with the reason.
    """

    def __init__(
        self,
        sketches: Sequence[Sketch],
        spaces: Sequence[int] | None,
        task: Task | None,
        rng: np.random.Generator,
        narrowed: Callable[[Sketch], Sketch] | None = None,
    ) -> None:
        super().__init__(sketches, spaces, task, opened=())
        self.refused: dict[int, str] = {}
        self._narrowed = narrowed or searched
        self._waiting = [_order(self.sketches, own, rng) for own in self.by_space]

    def begin(self, rng: np.random.Generator | None = None) -> None:
        """Open the first sketch of every design space or, given chance, of one that is drawn."""
        if rng is None:
            self.grow()
            return
        spaces = len(self.by_space)
        first = int(rng.integers(spaces))
        # Where that one offers nothing, the next one is as good.
        any(self._next((first + i) % spaces) for i in range(spaces))

    def grow(self) -> bool:
        """Open one more sketch of every design space; False when no more is there."""
        return any([self._next(space) for space in range(len(self.by_space))])

    @property
    def unbegun(self) -> int:
        """How many design spaces have sketches, none of which was opened yet."""
        pairs = zip(self.by_space, self._waiting)
        return sum(bool(left) and not np.isin(own, self.opened).any() for own, left in pairs)

    @property
    def refused_spaces(self) -> dict[int, str]:
        """The design spaces of which every sketch was refused, by number, with the reasons."""
        return {
            int(space): "; ".join(self.refused[s] for s in own.tolist())
            for space, own in zip(self.spaces, self.by_space)
            if self.refused.keys() >= {*own.tolist()}
        }

    def ensure_open(self, sketches: Iterable[int]) -> None:
        """Open those of these sketches that wait for it, in order."""
        for sketch in sketches:
            for waiting in self._waiting:
                if sketch in waiting:
                    waiting.remove(sketch)
                    self._open(sketch)

    def _next(self, space: int) -> bool:
        waiting = self._waiting[space]
        while waiting:
            if self._open(waiting.pop(0)):
                return True
        return False

    def _open(self, sketch: int) -> bool:
        try:
            self.open(sketch, self._narrowed(self.sketches[sketch]))
        except NOT_SEARCHABLE as error:
            before = self.refused_spaces
            self.refused[sketch] = str(error)
            after = self.refused_spaces
            for space in after.keys() - before.keys():
                line = left_out(self.task.name, space, after[space])
                logger.warning("%s", line)
                if self.opened:  # or else whoever has begun it says so, or that there is nothing
                    pass_on(line)
            return False
        return True


def left_out(task: str, space: int, why: str) -> str:
    """Say that a design space of a task is not searched."""
    return f"task {task}, design space {space}: {why}"


def searched(sketch: Sketch) -> Sketch:
    """The part of a sketch that is searched; the errors of `Sketch.sample` where there is none.

    So it is where postprocs refuse some of its configs, and nothing says which. What does not
    compile is left out, though a search that only samples has the sketch analysed for nothing else:
    that takes as long as a trial, and of bytes in TVM's space every second one would be lost.
    """
    refused = refused_somewhere(sketch.design)
    if refused is not None:
        raise EmptySpace(f"some configs are refused, and nothing says which: {refused}")
    return sampled_part(sketch)


def sampled_part(sketch: Sketch) -> Sketch:
    """`searched` of a sketch of which nothing is refused, as `mschedx.space.sketches` gives it."""
    found = sketch.compilable().narrowed(preferences=True)
    # What can hardly be drawn from is refused here, before a search relies on it.
    found.sample(_DRAWN_AT_ONCE if found.sampler.rejected else 1, np.random.default_rng(0))
    return found


def searchable(sketches: Iterable[Sketch], narrowed: Callable[[Sketch], Sketch]) -> list[Sketch]:
    """What ``narrowed`` makes of the sketches in which there is something to search.

    Raises
    ------
    EmptySpace
        Where there is nothing in any of them, with the reasons.
    """
    kept, reasons = [], []
    for sketch in sketches:
        try:
            kept.append(narrowed(sketch))
        except NOT_SEARCHABLE as error:
            reasons.append(str(error))
    if not kept:
        raise EmptySpace(
            f"none of {len(reasons)} sketches has a valid config: {'; '.join(reasons)}"
        )
    return kept


def _order(sketches: Sequence[Sketch], own: IntArray, rng: np.random.Generator) -> list[int]:
    if len(own) == 1:
        return own.tolist()
    sizes = [sum(np.log(len(table.rows)) for table in sketches[s].design.tables) for s in own]
    # Exponential times at rates in proportion to the sizes; as logarithms, for sizes are large.
    times = np.log(rng.exponential(size=len(own))) - np.array(sizes)
    return own[np.argsort(times, kind="stable")].tolist()
