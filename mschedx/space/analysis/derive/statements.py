"""The statements of a program, composed from what was found about its blocks.

The schedule's loops become the lowered program's in one of three ways: they stay; a CPU's postproc
fuses outer ones into a parallel and inner ones into a vector loop; or a cooperative fetch splits
the last one over the threads::

    for i, j, k:  A          parallel p:                 for i:
                        →      for (what is left):   or    for rounds:
                                 vector v:  A                thread y, x:  vector v:  A

What was known at the levels of the schedule is then told at those of the lowered program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import gcd

import numpy as np

from mschedx.compat import PERFORMED_AHEAD

from ...algebra.expression import (
    Expression,
    constant,
    minimum,
    multiply,
    where_at_most,
)
from ...statements import BufferAccess, LoopLevel, Statement
from ..fit.symbolic import SymbolicProgram
from ..mirror.kernels import WARP_EXECUTION, top_of, tops
from ..mirror.postprocs import FETCH
from ..model import AccessInfo, KernelInfo, VectorInfo
from ..read.program import Block, Program
from ..read.tensorized import AUTO_TENSORIZE, described_operations

Levels = Sequence[Expression | None]

_YES, _NO = constant(1), constant(0)
_FRAGMENTS = ("wmma.", "m16n8k8.")
"""Scopes of what a warp's threads hold together begin so."""


def statements(
    programs: Sequence[Program],
    found: SymbolicProgram,
    accesses: Sequence[AccessInfo],
    kernels: Sequence[KernelInfo],
    vectors: Mapping[str, VectorInfo],
    tensorized: Mapping[str, str],
    left_as_loops: frozenset[str] = frozenset(),
) -> tuple[Statement, ...]:
    """Compose the statements of a program, in program order.

    A copy of a weight that is performed ahead of all calls is no part of it.

    Parameters
    ----------
    programs : sequence of Program
        The replays that ``found`` was found from.
    found : SymbolicProgram
    accesses : sequence of AccessInfo
        Of all blocks, in order.
    kernels : sequence of KernelInfo
        By outermost loop; none on a CPU.
    vectors : mapping of str to VectorInfo
        What postprocs make of a block, by name.
    tensorized : mapping of str to str
        The intrinsic of every block that the trace tensorises.
    left_as_loops : frozenset of str
        Blocks whose annotation names an intrinsic that does not perform them.
    """
    composer = _Composer(programs, found, kernels, vectors, tensorized, left_as_loops)
    result: list[Statement] = []
    position = 0
    for b, block in enumerate(found.template.blocks):
        own = accesses[position : position + len(block.accesses)]
        position += len(block.accesses)
        if block.leaf and PERFORMED_AHEAD not in dict(block.annotations):
            result += composer.block(b, own)
    return _with_producers(result)


@dataclass(frozen=True)
class _Nest:
    """Lowered loops, and how a quantity given at the schedule's levels reads at theirs.

    ``retold`` takes values at the schedule's L + 1 levels, and whether they count elements.
    """

    loops: tuple[LoopLevel, ...]
    retold: Callable[[Levels, bool], Levels]
    strides: Callable[[Levels], Levels]


class _Composer:
    def __init__(
        self,
        programs: Sequence[Program],
        found: SymbolicProgram,
        kernels: Sequence[KernelInfo],
        vectors: Mapping[str, VectorInfo],
        tensorized: Mapping[str, str],
        left_as_loops: frozenset[str],
    ) -> None:
        self.programs, self.found, self.kernels = programs, found, kernels
        self.program = found.template
        self.vectors, self.tensorized = vectors, tensorized
        self.left_as_loops = left_as_loops
        self.tops = tops(self.program)

    def block(self, b: int, accesses: Sequence[AccessInfo]) -> list[Statement]:
        """The statement of a leaf block, after that of its initialisation if it holds one."""
        block = self.program.blocks[b]
        owner = self._owner(b)
        info = self.vectors.get(self.program.blocks[owner].name, VectorInfo(block.name))
        notes = self._notes(b)
        intrinsic = self.tensorized.get(block.name.split("#")[0], "")
        nest = self._nest(b, owner, info)
        top = top_of(self.program, b)
        written = [access for access in accesses if access.is_write]
        is_init = not intrinsic and self._initialises(b)
        touched = tuple(self._access(access, nest) for access in accesses)
        main = Statement(
            name=block.name,
            loops=nest.loops,
            accesses=touched,
            operations=described_operations(intrinsic) if intrinsic else dict(block.operations),
            intrinsic=intrinsic or str(notes.get(AUTO_TENSORIZE, "")),
            lanes=_YES if intrinsic else _lanes(nest.loops),
            unroll=info.unroll,
            kernel=None if top is None else self.tops.index(top),
            is_init=is_init or block.name.endswith("_init"),
            is_reduction=any(kind == "reduce" for _, kind, _ in block.iters),
            predicated=any(p.blocks[b].predicated for p in self.programs),
            by_warp=WARP_EXECUTION in notes or (bool(intrinsic) and _has_fragment(touched)),
        )
        if not (block.initializes and main.is_reduction):
            return [main]
        return [_initialisation(main, [self._access(access, nest) for access in written]), main]

    def _owner(self, b: int) -> int:
        """The block below the root that holds a block; postprocs look at those."""
        while self.program.blocks[b].parent > 0:
            b = self.program.blocks[b].parent
        return b

    def _notes(self, b: int) -> dict[str, object]:
        notes: dict[str, object] = {}
        left_as_loops = self.program.blocks[b].name in self.left_as_loops
        while b >= 0:
            notes = {**dict(self.program.blocks[b].annotations), **notes}
            b = self.program.blocks[b].parent
        if left_as_loops:
            notes.pop(AUTO_TENSORIZE, None)
        return notes

    def _initialises(self, b: int) -> bool:
        """Whether a later reduction accumulates what this block writes without reading anything."""
        blocks = self.program.blocks
        if any(not access.is_write for access in blocks[b].accesses):
            return False
        written = {access.buffer for access in blocks[b].accesses}
        return any(
            access.is_write and access.buffer in written and _reduces(later)
            for later in blocks[b + 1 :]
            for access in later.accesses
        )

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

    def _nest(self, b: int, owner: int, info: VectorInfo) -> _Nest:
        own = self.program.blocks[owner]
        notes = dict(own.annotations)
        tensorized = AUTO_TENSORIZE in notes and self.program.blocks[b].name not in (
            self.left_as_loops
        )
        if self.kernels and FETCH in notes:
            known = info.serial is not None and info.vector is not None
            return self._fetched(b, len(own.loops), info) if known else self._unknown(b)
        if info.in_vector:
            return self._fused(b, info, tensorized)
        if not self.kernels and info.vector is None:
            return self._unknown(b)
        return self._plain(b, len(own.loops) if tensorized else None)

    def _plain(self, b: int, tensorized_from: int | None) -> _Nest:
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
        return _Nest(
            tuple(loops),
            lambda levels, _: [*(levels[p] for p in kept), levels[-1]],
            lambda strides: [strides[p] for p in kept],
        )

    def _unknown(self, b: int) -> _Nest:
        """A postproc rewrites the loops in a way that no expression says."""
        chain = self.program.blocks[b].loops
        rest = (replace(self._loop(b, loop), extent=None) for loop in chain)
        nothing: list[Expression | None] = [None] * (len(chain) + 1)
        return _Nest(
            (
                LoopLevel("parallel", None, "parallel", "spatial"),
                *rest,
                LoopLevel("vector", None, "vectorized", "spatial"),
            ),
            lambda levels, _: [levels[0], *nothing, levels[-1]],
            lambda strides: [None, *strides, None],
        )

    def _fused(self, b: int, info: VectorInfo, tensorized: bool) -> _Nest:
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
            extent = level.extent and _where(gone, _YES, level.extent)
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
            lane = _lane_stride(moves, extents, info, _YES if not inner else None)
            return [None, *moves[:own], lane, *moves[own:]]

        return _Nest(loops, retold, strides)

    def _fetched(self, b: int, split: int, info: VectorInfo) -> _Nest:
        """The owner's last loop is split into rounds, threads and a vector."""
        chain = self.program.blocks[b].loops
        outer = [
            p
            for p in range(split - 1)
            if not self.program.loops[chain[p]].thread.startswith("threadIdx")
        ]
        inner = range(split, len(chain))
        top = top_of(self.program, b)
        assert top is not None
        bound = self.kernels[self.tops.index(top)].extents
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

        return _Nest(loops, retold, strides)

    def _access(self, access: AccessInfo, nest: _Nest) -> BufferAccess:
        levels = range(len(access.loops) + 1)
        elements = [_elements(access, level) for level in levels]
        runs = [self._run(access, level) for level in levels]
        return BufferAccess(
            access.buffer,
            access.scope,
            access.dtype,
            access.is_write,
            access.element_bytes,
            tuple(nest.retold(elements, True)),
            tuple(nest.retold(runs, False)),
            tuple(nest.strides(access.strides)),
        )

    def _run(self, access: AccessInfo, level: int) -> Expression | None:
        """Neighbours in memory: whole rows count together as long as they are whole."""
        run: Expression = _YES
        shape = self.found.shapes[access.buffer]
        going: Expression = _YES
        for d in reversed(range(len(access.regions))):
            part, extent = access.regions[d][level], shape[d]
            if part is None:
                return None
            run = multiply(run, _where(going, part, _YES))
            if extent is None:
                return run
            going = multiply(going, where_at_most(extent, part, 1, 0))
        return run


def _iterators(block: Block) -> tuple[tuple, tuple]:
    return block.iters, block.bindings


def _lanes(loops: Sequence[LoopLevel]) -> Expression | None:
    extents = [loop.extent for loop in loops if loop.kind == "vectorized"]
    return None if None in extents else multiply(1, *(e for e in extents if e is not None))


def _reduces(block: Block) -> bool:
    return any(kind == "reduce" for _, kind, _ in block.iters)


def _elements(access: AccessInfo, level: int) -> Expression | None:
    dims = [levels[level] for levels in access.regions]
    return None if None in dims else multiply(1, *(dim for dim in dims if dim is not None))


def _where(condition: Expression, then: Expression, otherwise: Expression) -> Expression:
    """``then`` where the condition, 0 or 1, is 1."""
    return where_at_most(1, condition, then, otherwise)


def _either(a: Expression, b: Expression) -> Expression:
    return _where(a, _YES, b)


def _choose(
    condition: Expression, then: Expression | None, otherwise: Expression | None
) -> Expression | None:
    """`_where` of expressions that may be missing; what cannot be chosen need not be known."""
    if condition == _NO:
        return otherwise
    if condition == _YES:
        return then
    return None if then is None or otherwise is None else _where(condition, then, otherwise)


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
    still = extents[last + 1 :]
    if not all(moved[first:last]) or None in still:
        return None
    period = multiply(1, *(extent for extent in still if extent is not None))
    if period.columns or lanes.columns:
        return None
    once, width = (int(one(np.ones((1, 0), dtype=np.int64))[0]) for one in (period, lanes))
    # Starts are multiples of both: at worst the last one before the access moves.
    worst = once - gcd(once, width) + width - 1
    return minimum(whole, 1 + worst // once)


def _lane_stride(
    strides: Levels, extents: Levels, info: VectorInfo, contiguous: Expression | None
) -> Expression | None:
    """Elements between lanes: 0, or 1 as a postproc makes vectors of what is contiguous only.

    Where a lane is a block of more loops (``contiguous`` is None), it is that of the innermost
    loop that became part of the vector.
    """
    lanes: Expression = _NO
    for stride, extent, taken in zip(strides, extents, info.in_vector):
        if stride is None or extent is None:
            return None
        if stride != _NO:
            moves = multiply(_either(info.whole or _NO, taken), where_at_most(extent, 1, 0, 1))
            lanes = _where(moves, contiguous or stride, lanes)
    return lanes


def _has_fragment(accesses: Sequence[BufferAccess]) -> bool:
    """Whether one is of a buffer that the threads of a warp hold together."""
    return any(access.scope.startswith(_FRAGMENTS) for access in accesses)


def _initialisation(main: Statement, writes: Sequence[BufferAccess]) -> Statement:
    """What lowering splits off a reduction: its loops without those that reduce."""
    reducing = [position for position, loop in enumerate(main.loops) if loop.role == "reduction"]
    first = reducing[0] if reducing else len(main.loops)
    kept = [
        position
        for position, loop in enumerate(main.loops)
        if loop.role != "reduction" and (position < first or loop.role != "outer")
    ]
    loops = tuple(main.loops[position] for position in kept)
    accesses = [
        replace(
            access,
            elements=(*(access.elements[p] for p in kept), access.elements[-1]),
            runs=(*(access.runs[p] for p in kept), access.runs[-1]),
            strides=tuple(access.strides[p] for p in kept),
        )
        for access in writes
    ]
    return replace(
        main,
        name=f"{main.name}_init",
        loops=loops,
        accesses=tuple(accesses),
        operations={},
        is_init=True,
        is_reduction=False,
    )


def _with_producers(found: Sequence[Statement]) -> tuple[Statement, ...]:
    """Name, for every read, the statements before it that write the buffer."""
    result = []
    for number, statement in enumerate(found):
        accesses = []
        for access in statement.accesses:
            makers = tuple(
                other
                for other in range(number)
                if any(w.buffer == access.buffer for w in found[other].writes)
            )
            accesses.append(access if access.is_write else replace(access, producers=makers))
        result.append(replace(statement, accesses=tuple(accesses)))
    return tuple(result)
