"""The loops around a statement as lowering leaves them, and how quantities read at their levels.

The schedule's loops become the lowered program's in one of three ways: they stay; a CPU's postproc
fuses outer ones into a parallel and inner ones into a vector loop; or a cooperative fetch splits
the last one over the threads::

    for i, j, k:  A          parallel p:                 for i:
                        →      for (what is left):   or    for rounds:
                                 vector v:  A                thread y, x:  vector v:  A

What was known at the levels of the schedule is then told at those of the lowered program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import gcd

from ...algebra.expression import (
    Expression,
    constant,
    constant_value,
    if_one,
    minimum,
    multiply,
    where_at_most,
)
from ...statements import LoopLevel
from ..fit.replays import Replays
from ..mirror.kernels import kernel_of
from ..model import KernelInfo, VectorInfo

Levels = Sequence[Expression | None]

_YES, _NO = constant(1), constant(0)


@dataclass(frozen=True)
class Nest:
    """Lowered loops, and how a quantity given at the schedule's levels reads at theirs.

    ``retold`` takes values at the schedule's L + 1 levels, and whether they count elements.
    """

    loops: tuple[LoopLevel, ...]
    retold: Callable[[Levels, bool], Levels]
    strides: Callable[[Levels], Levels]


class Nests:
    """Makes the nest of a block in whichever way a postproc leaves it.

    Parameters
    ----------
    replays : Replays
    kernels : sequence of KernelInfo
        By outermost loop; none on a CPU.
    """

    def __init__(self, replays: Replays, kernels: Sequence[KernelInfo]) -> None:
        self.programs, self.found, self.kernels = replays.programs, replays.found, kernels
        self.program = replays.template

    def plain(self, b: int, tensorized_from: int | None) -> Nest:
        """Loops as they are; a thread tag that is bound again is the same thread."""
        chain = self.program.blocks[b].loops
        met: set[str] = set()
        kept = []
        for position, loop in enumerate(chain):
            thread = self.program.loops[loop].thread
            if not thread or thread not in met:
                kept.append(position)
            met.add(thread)
        loops = []
        for position in kept:
            inside = tensorized_from is not None and position >= tensorized_from
            loops.append(self._loop(b, chain[position], "intrinsic" if inside else None))
        return Nest(
            tuple(loops),
            lambda levels, _: [*(levels[p] for p in kept), levels[-1]],
            lambda strides: [strides[p] for p in kept],
        )

    def unknown(self, b: int) -> Nest:
        """A postproc rewrites the loops in a way that no expression says."""
        chain = self.program.blocks[b].loops
        rest = (replace(self._loop(b, loop), extent=None) for loop in chain)
        nothing: list[Expression | None] = [None] * (len(chain) + 1)
        return Nest(
            (
                LoopLevel("parallel", None, "parallel", "spatial"),
                *rest,
                LoopLevel("vector", None, "vectorized", "spatial"),
            ),
            lambda levels, _: [levels[0], *nothing, levels[-1]],
            lambda strides: [None, *strides, None],
        )

    def fused(self, b: int, info: VectorInfo, tensorized: bool) -> Nest:
        """Outer loops fused into a parallel loop, inner ones into a vector loop.

        Loops inside the block that the postproc looked at stay as they are, inside the vector.
        """
        chain = self.program.blocks[b].loops
        whole = info.whole or _NO
        own = len(info.in_vector)
        inner = (_NO,) * (len(chain) - own)
        in_parallel, in_vector = (*info.in_parallel, *inner), (*info.in_vector, *inner)
        rest: list[LoopLevel] = []
        for position, (loop, parallel, vector) in enumerate(zip(chain, in_parallel, in_vector)):
            level = self._loop(b, loop, "intrinsic" if tensorized and position >= own else None)
            gone = _either(whole, _either(parallel, vector))
            extent = level.extent and if_one(gone, _YES, level.extent)
            rest.append(replace(level, extent=extent))
        loops = (
            LoopLevel("parallel", info.parallel, "parallel", "spatial"),
            *rest[:own],
            LoopLevel("vector", info.vector, "vectorized", "spatial"),
            *rest[own:],
        )
        extents = [self.found.extents[loop] for loop in chain]

        def retold(levels: Levels, counts: bool) -> Levels:
            inside: list[Expression | None] = list(levels[: own + 1])
            for j in reversed(range(own)):
                inside[j] = _choose(in_parallel[j], inside[j + 1], levels[j])
            for j in range(1, own + 1):
                inside[j] = _choose(in_vector[j - 1], inside[j - 1], inside[j])
            touched = _whole_vector(levels, extents, info.vector) if counts else info.vector
            told = [_choose(whole, None if inner else touched, value) for value in inside]
            return [levels[0], *told, *levels[own:]]

        def strides(moves: Levels) -> Levels:
            return [None, *moves[:own], _lane_stride(moves, extents, info), *moves[own:]]

        return Nest(loops, retold, strides)

    def fetched(self, b: int, split: int, info: VectorInfo) -> Nest:
        """The owner's last loop is split into rounds, threads and a vector."""
        chain = self.program.blocks[b].loops
        outer = [
            p
            for p in range(split - 1)
            if not self.program.loops[chain[p]].thread.startswith("threadIdx")
        ]
        inner = range(split, len(chain))
        kernel = kernel_of(self.program, b)
        assert kernel is not None
        bound = self.kernels[kernel].extents
        threads = [tag for tag in ("threadIdx.z", "threadIdx.y", "threadIdx.x") if tag in bound]
        role = self._role(b, chain[split - 1])
        loops = (
            *(self._loop(b, chain[p]) for p in outer),
            LoopLevel("rounds", info.serial, "serial", role),
            *(LoopLevel("thread", bound[tag], "thread", role, tag) for tag in threads),
            LoopLevel("vector", info.vector, "vectorized", role),
            *(self._loop(b, chain[p]) for p in inner),
        )
        # How many of the loop's iterations are together, from one vector to all threads.
        together = [info.vector or _YES]
        for tag in reversed(threads):
            together.insert(0, multiply(together[0], bound[tag]))

        def retold(levels: Levels, counts: bool) -> Levels:
            whole, one = levels[split - 1], levels[split]
            parts = [_some(whole, one, many) for many in together]
            return [*(levels[p] for p in outer), whole, *parts, *levels[split:]]

        def strides(own: Levels) -> Levels:
            split_over: list[Expression | None] = [None] * (1 + len(threads))
            return [*(own[p] for p in outer), *split_over, own[split - 1], *(own[p] for p in inner)]

        return Nest(loops, retold, strides)

    def _loop(self, b: int, loop: int, kind: str | None = None) -> LoopLevel:
        own = self.program.loops[loop]
        return LoopLevel(
            own.name.split("/")[1],
            self.found.extents[loop],
            kind or own.kind,
            self._role(b, loop),
            own.thread,
        )

    def _role(self, b: int, loop: int) -> str:
        kinds: set[str] = set()
        while True:
            kinds |= self.kinds[b].get(loop, set())
            b = self.program.blocks[b].parent
            if b <= 0:
                break
        if not kinds:
            return "outer"
        if len(kinds) > 1:
            return "mixed"
        return "reduction" if "reduce" in kinds else "spatial"

    @cached_property
    def kinds(self) -> list[dict[int, set[str]]]:
        """By block, the kinds of the iterators that each loop moves in some program."""
        found: list[dict[int, set[str]]] = [{} for _ in self.program.blocks]
        for program in self.programs:
            for own, block in zip(found, program.blocks):
                for (_, kind, _), form in zip(block.iters, block.bindings):
                    for loop in () if form is None else form.loops():
                        own.setdefault(loop, set()).add(kind)
        return found


def _either(a: Expression, b: Expression) -> Expression:
    return if_one(a, _YES, b)


def _choose(
    condition: Expression, then: Expression | None, otherwise: Expression | None
) -> Expression | None:
    """`if_one` of expressions that may be missing; what cannot be chosen need not be known."""
    if condition == _NO:
        return otherwise
    if condition == _YES:
        return then
    return None if then is None or otherwise is None else if_one(condition, then, otherwise)


def _some(whole: Expression | None, one: Expression | None, many: Expression) -> Expression | None:
    """What ``many`` iterations of a contiguous loop touch, of which one touches ``one``."""
    if whole is None or one is None:
        return None
    return minimum(whole, multiply(many, one))


def _whole_vector(levels: Levels, extents: Levels, lanes: Expression | None) -> Expression | None:
    """What a vector of a nest that was fused whole touches.

    All accesses are contiguous then, and the vectors start at multiples of their lanes. An access
    that the innermost loops leave where it is moves once in as many iterations as these have.
    """
    whole = levels[0]
    if lanes is None or whole is None:
        return None
    moved = [outer != inner for outer, inner in pairwise(levels)]
    last = max((j for j, moves in enumerate(moved) if moves), default=-1)
    if last < 0:
        return whole
    first = moved.index(True)
    if not all(moved[first:last]) or None in extents:
        return None
    known = [extent for extent in extents if extent is not None]
    steps = multiply(1, *known[first : last + 1])
    if not (steps.columns or whole.columns) and constant_value(steps) != constant_value(whole):
        return None  # x[i // 8] moves once in several iterations, x[i % 8] comes back
    period = multiply(1, *known[last + 1 :])
    if period.columns or lanes.columns:
        return None
    once, width = constant_value(period), constant_value(lanes)
    # Starts are multiples of both: at worst the last one before the access moves.
    worst = once - gcd(once, width) + width - 1
    return minimum(whole, 1 + worst // once)


def _lane_stride(strides: Levels, extents: Levels, info: VectorInfo) -> Expression | None:
    """Elements between lanes: those of the innermost loop that runs and became part of the vector.

    Not always 0 or 1: of ``y[j, k]`` in a vector over j the postproc sees that k stays, and takes
    the access for one that does not move.
    """
    lanes: Expression = _NO
    for stride, extent, taken in zip(strides, extents, info.in_vector):
        if taken == _NO and info.whole in (None, _NO):
            continue
        if stride is None or extent is None:
            return None
        runs = multiply(_either(info.whole or _NO, taken), where_at_most(extent, 1, 0, 1))
        lanes = if_one(runs, stride, lanes)
    return lanes
