"""The statements of a program, composed from what was found about its blocks.

A block's loops are told by `nests`, its accesses level by level at these loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mschedx.compat import PERFORMED_AHEAD

from ...algebra.expression import Expression, constant, if_one, indicator, multiply
from ...annotation_keys import AUTO_TENSORIZE, COOPERATIVE_FETCH, WARP_EXECUTION
from ...statements import BufferAccess, LoopLevel, Statement
from ..fit.replays import Replays
from ..mirror.kernels import kernel_of
from ..model import AccessInfo, KernelInfo, VectorInfo
from ..read.program import Block, Program
from ..read.tensorized import described_operations
from .nests import Levels, Nest, Nests

_YES = constant(1)
_FRAGMENTS = ("wmma.", "m16n8k8.")
"""Scopes of what a warp's threads hold together begin so."""


def statements(
    replays: Replays,
    accesses: Sequence[AccessInfo],
    kernels: Sequence[KernelInfo],
    vectors: Mapping[str, VectorInfo],
    tensorized: Mapping[str, str],
    left_as_loops: frozenset[str],
    *,
    on_gpu: bool,
) -> tuple[Statement, ...]:
    """Compose the statements of a program, in program order.

    A copy of a weight that is performed ahead of all calls is no part of it.

    Parameters
    ----------
    replays : Replays
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
    on_gpu : bool
    """
    composer = _Composer(replays, kernels, vectors, tensorized, left_as_loops, on_gpu)
    chosen = set(computing(replays.template))
    result: list[Statement] = []
    position = 0
    for b, block in enumerate(replays.template.blocks):
        own = accesses[position : position + len(block.accesses)]
        position += len(block.accesses)
        if b in chosen:
            result += composer.block(b, own)
    return _with_producers(result)


def computing(program: Program) -> list[int]:
    """The blocks of a program that are statements, in its order."""
    return [
        b
        for b, block in enumerate(program.blocks)
        if block.leaf and PERFORMED_AHEAD not in dict(block.annotations)
    ]


class _Composer:
    def __init__(
        self,
        replays: Replays,
        kernels: Sequence[KernelInfo],
        vectors: Mapping[str, VectorInfo],
        tensorized: Mapping[str, str],
        left_as_loops: frozenset[str],
        on_gpu: bool,
    ) -> None:
        self.replays, self.program = replays, replays.template
        self.nests = Nests(replays, kernels)
        self.vectors, self.tensorized = vectors, tensorized
        self.left_as_loops, self.on_gpu = left_as_loops, on_gpu

    def block(self, b: int, accesses: Sequence[AccessInfo]) -> list[Statement]:
        """The statement of a leaf block, after that of its initialisation if it holds one."""
        block = self.program.blocks[b]
        owner = self._owner(b)
        info = self.vectors.get(self.program.blocks[owner].name, VectorInfo(block.name))
        notes = self._notes(b)
        by_trace = self.tensorized.get(block.name.split("#")[0], "")
        intrinsic = by_trace or str(notes.get(AUTO_TENSORIZE, ""))
        nest = self._nest(b, owner, info)
        written = [access for access in accesses if access.is_write]
        touched = tuple(self._access(access, nest) for access in accesses)
        main = Statement(
            name=block.name,
            loops=nest.loops,
            accesses=touched,
            operations=described_operations(intrinsic) if intrinsic else dict(block.operations),
            intrinsic=intrinsic,
            lanes=_YES if by_trace else _lanes(nest.loops),
            unroll=info.unroll,
            asynchronous=info.asynchronous,
            kernel=kernel_of(self.program, b),
            is_init=self._initialises(b, bool(by_trace)),
            is_reduction=any(kind == "reduce" for _, kind, _ in block.iters),
            predicated=any(p.blocks[b].predicated for p in self.replays.programs),
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

    def _initialises(self, b: int, by_instruction: bool) -> bool:
        """Whether a later reduction accumulates what this block writes without reading anything.

        Of what an instruction performs the name tells.
        """
        blocks = self.program.blocks
        if any(not access.is_write for access in blocks[b].accesses):
            return False
        if by_instruction:
            return blocks[b].name.endswith("_init")
        written = {access.buffer for access in blocks[b].accesses}
        return any(
            access.is_write and access.buffer in written and _reduces(later)
            for later in blocks[b + 1 :]
            for access in later.accesses
        )

    def _nest(self, b: int, owner: int, info: VectorInfo) -> Nest:
        own = self.program.blocks[owner]
        notes = dict(own.annotations)
        tensorized = AUTO_TENSORIZE in notes and self.program.blocks[b].name not in (
            self.left_as_loops
        )
        if self.on_gpu and COOPERATIVE_FETCH in notes:
            known = info.serial is not None and info.vector is not None
            return self.nests.fetched(b, len(own.loops), info) if known else self.nests.unknown(b)
        if info.in_vector:
            return self.nests.fused(b, info, tensorized)
        if not self.on_gpu and info.vector is None:
            return self.nests.unknown(b)
        return self.nests.plain(b, len(own.loops) if tensorized else None)

    def _access(self, access: AccessInfo, nest: Nest) -> BufferAccess:
        levels = range(len(access.loops) + 1)
        elements = [_elements(access, level) for level in levels]
        runs = [self._run(access, level) for level in levels]
        called = _calls_from(nest.loops)
        return BufferAccess(
            access.buffer,
            access.scope,
            access.dtype,
            access.is_write,
            access.element_bytes,
            _of_calls(nest.retold(elements, True), called),
            _of_calls(nest.retold(runs, False), called),
            tuple(nest.strides(access.strides)),
        )

    def _run(self, access: AccessInfo, level: int) -> Expression | None:
        """Neighbours in memory: whole rows count together as long as they are whole."""
        run: Expression = _YES
        shape = self.replays.found.shapes[access.buffer]
        going: Expression = _YES
        for d in reversed(range(len(access.regions))):
            part, extent = access.regions[d][level], shape[d]
            if part is None:
                return None
            run = multiply(run, if_one(going, part, _YES))
            if extent is None:
                return run
            going = multiply(going, indicator(extent, part))
        return run


def _calls_from(loops: Sequence[LoopLevel]) -> int:
    """The level at which a statement runs once: inside are the loops that an intrinsic performs."""
    kinds = [loop.kind for loop in loops]
    return kinds.index("intrinsic") if "intrinsic" in kinds else len(kinds)


def _of_calls(levels: Levels, called: int) -> tuple[Expression | None, ...]:
    """What is known at every level, inside of a call that of the whole call."""
    return (*levels[:called], *[levels[called]] * (len(levels) - called))


def _lanes(loops: Sequence[LoopLevel]) -> Expression | None:
    extents = [loop.extent for loop in loops if loop.kind == "vectorized"]
    return None if None in extents else multiply(1, *(e for e in extents if e is not None))


def _reduces(block: Block) -> bool:
    return any(kind == "reduce" for _, kind, _ in block.iters)


def _elements(access: AccessInfo, level: int) -> Expression | None:
    dims = [levels[level] for levels in access.regions]
    return None if None in dims else multiply(1, *(dim for dim in dims if dim is not None))


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
