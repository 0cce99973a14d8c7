"""The numbers that replays of one structure show, form by form, as arrays over the probes.

Notation
--------
P : number of probes.
form : an affine value of a block, an iterator or the start of an access along one dimension.
level j of a block with n loops : its loops j … n−1 run, the others stand still; level n is one
    instance of the block.
cooperative level j : the same with all threads of the thread block running too, which is what
    shared memory holds; stored at index n+1+j, and equal to level j where there are no threads.
own level j : the same with every thread standing still, which is what a thread holds; at 2n+2+j.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...algebra.expression import IntArray
from ..read.affine import Affine, simplified
from ..read.program import Program
from .movement import UNCLEAR, UNKNOWN, Step, movement_of


@dataclass(frozen=True, slots=True)
class Numbers:
    """What one form showed.

    ``reach`` [P, 3n+3] is `UNKNOWN` where there is no number. ``steps`` [P, n, 4] holds count,
    stride and period of every loop, and 1 where the form falls with it; the count is 0 where a
    loop's part is not plain, 1 where it does not move the form. ``local`` is an access in the
    block's iterators when that is the same in every probe, and ``length`` the elements from there.
    """

    reach: IntArray
    steps: IntArray
    length: int = 1
    local: Affine | None = None
    bound: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True)
class Observations:
    """Programs of one skeleton, number by number.

    ``extents`` is [P, loops], ``shapes[buffer]`` [P, dims]. ``running[b]`` lists the loops of block
    b that run at every level; ``iters[b][v]`` and ``regions[b][a][d]`` are its forms.
    """

    template: Program
    extents: IntArray
    shapes: dict[str, IntArray]
    running: list[list[frozenset[int]]]
    iters: list[list[Numbers]]
    regions: list[list[list[Numbers]]]


def observe(programs: Sequence[Program]) -> Observations:
    """Read all forms of programs that share one skeleton."""
    template = programs[0]
    shapes = {
        buffer.name: np.array([p.buffers[i].shape for p in programs], dtype=np.int64)
        for i, buffer in enumerate(template.buffers)
    }
    running, iters, regions = [], [], []
    for b, block in enumerate(template.blocks):
        running.append(running_loops(template, block.loops))
        reader = _Reader(programs, b, running[b])
        iters.append(
            [replace(reader.binding(v), bound=reader.extent(v)) for v in range(len(block.iters))]
        )
        regions.append(
            [
                [
                    replace(reader.access(a, d), bound=shapes[access.buffer][:, d])
                    for d in range(len(access.lengths))
                ]
                for a, access in enumerate(block.accesses)
            ]
        )
    extents = np.array([[loop.extent for loop in p.loops] for p in programs], dtype=np.int64)
    return Observations(template, extents, shapes, running, iters, regions)


def running_loops(program: Program, loops: tuple[int, ...]) -> list[frozenset[int]]:
    """The loops that run at every level, then at the cooperative levels, then at the own levels."""
    threads = {i for i in loops if program.loops[i].thread.startswith(("threadIdx", "vthread"))}
    plain = [frozenset(loops[level:]) for level in range(len(loops) + 1)]
    together, alone = [now | threads for now in plain], [now - threads for now in plain]
    return plain + together + alone


class _Reader:
    """Reads the numbers of one block's forms from every probe."""

    def __init__(
        self, programs: Sequence[Program], block: int, running: list[frozenset[int]]
    ) -> None:
        self.extents = [p.extents for p in programs]
        self.blocks = [p.blocks[block] for p in programs]
        self.loops = self.blocks[0].loops
        # Without threads, three levels at a time are one.
        self.running = list(dict.fromkeys(running))
        self.columns = [self.running.index(now) for now in running]
        self.caches = [p.numbers.setdefault(block, {}) for p in programs]
        self.moving: dict[frozenset[int], tuple[frozenset[int], ...]] = {}

    def extent(self, v: int) -> IntArray:
        return np.array([block.iters[v][2] for block in self.blocks], dtype=np.int64)

    def binding(self, v: int) -> Numbers:
        return self._numbers([block.bindings[v] for block in self.blocks])

    def access(self, a: int, d: int) -> Numbers:
        accesses = [block.accesses[a] for block in self.blocks]
        reach_steps = self._numbers([access.offsets[d] for access in accesses])
        lengths = np.array([access.lengths[d] for access in accesses])
        if (lengths != lengths[0]).any():
            return Numbers(np.full_like(reach_steps.reach, UNKNOWN), reach_steps.steps)
        known = reach_steps.reach != UNKNOWN
        reach = np.where(known, reach_steps.reach + lengths[0] - 1, UNKNOWN)
        local = accesses[0].local[d]
        same = local if all(access.local[d] == local for access in accesses) else None
        return Numbers(reach, reach_steps.steps, int(lengths[0]), same)

    def _numbers(self, forms: Sequence[Affine | None]) -> Numbers:
        probes, n = len(forms), len(self.loops)
        reach: list[tuple[int, ...]] = []
        steps = np.zeros((probes, n, 4), dtype=np.int64)
        steps[:, :, 0] = 1  # as of a loop that does not move the form
        rows, seen = [], []
        for probe, (form, extents, cache) in enumerate(zip(forms, self.extents, self.caches)):
            known = cache.get(form)
            if known is None:
                known = cache[form] = self._read(form, extents)
            reach.append(known[0])
            rows += [probe * n + position for position in known[1]]
            seen += known[1].values()
        if rows:
            steps.reshape(probes * n, 4)[rows] = seen
        levels = np.array(reach, dtype=np.int64).reshape(probes, len(self.running))
        return Numbers(levels[:, self.columns], steps)

    def _read(
        self, form: Affine | None, extents: Mapping[int, int]
    ) -> tuple[tuple[int, ...], dict[int, Step]]:
        """How many values the form spans at every level, and what loops do to it, by position."""
        if form is None:
            return (UNKNOWN,) * len(self.running), dict.fromkeys(range(len(self.loops)), UNCLEAR)
        movement = movement_of(simplified(form, extents), extents)
        reads = movement.loops
        if reads not in self.moving:
            self.moving[reads] = tuple(reads & now for now in self.running)
        moving = self.moving[reads]
        spans = {some: movement.span(some, extents) for some in dict.fromkeys(moving)}
        steps = {p: movement.steps[x] for p, x in enumerate(self.loops) if x in movement.steps}
        return tuple([spans[some] for some in moving]), steps
