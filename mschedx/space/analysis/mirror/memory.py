"""Allocations as lowered: where a buffer lives, how much of it, how many copies.

TVM allocates a buffer at the innermost loop that holds all its accesses, as large as what they
touch there (by all threads for shared memory). A software pipeline keeps a version per stage
between writing and reading, and storage alignment pads rows.

Mirrors ``PlanAndUpdateBufferAllocationLocation``, ``CompactBufferAllocation`` and the versions of
``InjectSoftwarePipeline``. Shapes are held by ``test_exactness.py::test_lowered_programs``, shared
bytes by ``test_heron_fact_7_shared_bytes_are_exact_and_within_the_limit``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...algebra.expression import Expression, add, constant, floor_div, maximum, multiply
from ...annotation_keys import DIM_ALIGN, PIPELINE_STAGE
from ..fit.replays import Replays
from ..fit.symbolic import SymbolicProgram
from ..read.program import Block, Buffer, Program

User = tuple[int, int]
"""Block and access index of one use of a buffer."""


def users(program: Program, buffer: str) -> list[User]:
    """Return the accesses to a buffer, in program order."""
    return [
        (b, a)
        for b, block in enumerate(program.blocks)
        for a, access in enumerate(block.accesses)
        if access.buffer == buffer
    ]


def home(found: SymbolicProgram, uses: Sequence[User]) -> int:
    """How many outermost loops all uses share: the depth at which the buffer is allocated.

    A reduction initialises what it writes before its first loop that reduces, and that counts as
    a use.
    """
    chains = []
    for b, a in uses:
        block = found.template.blocks[b]
        chains.append(block.loops)
        if block.accesses[a].is_write and any(kind == "reduce" for _, kind, _ in block.iters):
            before = [bool(found.reducing_for(b, loop)) for loop in block.loops]
            chains.append(block.loops[: before.index(True)] if True in before else block.loops)
    depth = 0
    while all(len(c) > depth and c[depth] == chains[0][depth] for c in chains):
        depth += 1
    return depth


def shape(found: SymbolicProgram, buffer: Buffer) -> tuple[Expression | None, ...]:
    """Compacted shape of an allocated buffer; None for a dimension that was not found.

    What is read has been written below the same loop, so the writers decide; where what they touch
    is not known, or guarded so that it is less than their loops span, the readers do.
    """
    uses = users(found.template, buffer.name)
    if not uses:
        return ()
    depth = home(found, uses)
    writing = [found.template.blocks[b].accesses[a].is_write for b, a in uses]
    writers = [use for use, writes in zip(uses, writing) if writes]
    readers = [use for use, writes in zip(uses, writing) if not writes]
    guarded = any(found.template.blocks[b].predicated for b, _ in writers)
    order = (readers, writers) if guarded else (writers, readers)
    dims = []
    for d in range(len(buffer.shape)):
        sizes = [_widest(found, buffer, some, d, depth) for some in order if some]
        dims.append(next((size for size in sizes if size is not None), None))
    return tuple(dims)


def unsure(found: SymbolicProgram, buffer: Buffer) -> bool:
    """Whether readers of a buffer touch a range that is not known, so its shape may be larger."""
    uses = users(found.template, buffer.name)
    depth = home(found, uses)
    blocks = found.template.blocks
    readers = [(b, a) for b, a in uses if not blocks[b].accesses[a].is_write]
    dims = range(len(buffer.shape))
    return bool(readers) and any(_widest(found, buffer, readers, d, depth) is None for d in dims)


def _widest(
    found: SymbolicProgram, buffer: Buffer, uses: Sequence[User], d: int, depth: int
) -> Expression | None:
    """What the widest of the uses spans along a dimension, at the depth of the allocation."""
    reaches = []
    for b, a in uses:
        levels = len(found.template.blocks[b].loops) + 1
        group = 1 if is_shared(buffer.scope) else 0 if buffer.scope == "global" else 2
        reaches.append(found.regions[b][a][d].reach[group * levels + depth])
    return None if None in reaches else maximum(*(r for r in reaches if r is not None))


def is_shared(scope: str) -> bool:
    """Whether a thread block owns buffers of this scope."""
    return scope.startswith("shared")


def elements(
    dims: Sequence[Expression | None], alignment: dict[int, tuple[int, Expression | None]]
) -> Expression | None:
    """Elements of a row-major buffer.

    Parameters
    ----------
    dims : sequence of Expression
    alignment : mapping
        Dimension to (factor, offset): its stride is padded to ``factor·k + offset``.
    """
    size: Expression = constant(1)
    for d in reversed(range(len(dims))):
        if d in alignment:
            factor, offset = alignment[d]
            if offset is None:
                return None
            size = _aligned(size, factor, offset)
        extent = dims[d]
        if extent is None:
            return None
        size = multiply(size, extent)
    return size


def _aligned(stride: Expression, factor: int, offset: Expression) -> Expression:
    """``stride + (factor + offset − stride mod factor) mod factor``, for offset < factor."""
    if multiply(factor, floor_div(stride, factor)) == stride:
        return add(stride, offset)
    # With stride = factor·q + r the padding is (offset − r) mod factor, hence the next
    # factor·k + offset that is not below the stride.
    steps = floor_div(add(stride, factor - 1, multiply(-1, offset)), factor)
    return add(multiply(factor, steps), offset)


def alignment(replays: Replays, buffer: str) -> dict[int, tuple[int, Expression | None]]:
    """Storage alignment that the writers of a buffer ask for; its offset may be a decision."""
    found: dict[int, tuple[int, Expression | None]] = {}
    for b, block in enumerate(replays.template.blocks):
        writes = [access for access in block.accesses if access.is_write]
        for e, (index, axis, factor, _) in enumerate(_alignments(block)):
            if writes[index].buffer == buffer:
                offsets = [_alignments(p.blocks[b])[e][3] for p in replays.programs]
                found[axis] = (factor, replays.solve(offsets))
    return found


def _alignments(block: Block) -> Sequence[tuple[int, int, int, int]]:
    """(write, dimension, factor, offset) of every alignment that a block asks for."""
    return dict(block.annotations).get(DIM_ALIGN, ())


def copies(found: SymbolicProgram, program: Program, buffer: str) -> int:
    """Versions of a buffer that a software pipeline around its uses keeps in ``program``."""
    uses = users(program, buffer)
    depth = home(found, uses)
    if not uses or depth == 0:
        return 1
    loop = program.blocks[uses[0][0]].loops[depth - 1]
    stages = dict(program.loops[loop].annotations).get(PIPELINE_STAGE, ())
    if not stages:
        return 1
    order = children(program, loop)
    stage = {block: stages[i] for i, blocks in enumerate(order) for block in blocks}
    written = [stage[b] for b, a in uses if program.blocks[b].accesses[a].is_write]
    read = [stage[b] for b, a in uses if not program.blocks[b].accesses[a].is_write]
    return max(1, max(read, default=0) - min(written, default=0) + 1)


def children(program: Program, loop: int) -> list[list[int]]:
    """The blocks below each statement of a loop's body, in order."""
    order: dict[tuple[str, int], list[int]] = {}
    for b, block in enumerate(program.blocks):
        if loop in block.loops:
            depth = block.loops.index(loop) + 1
            top = _top(program, b, depth)
            inside = program.blocks[top].loops[depth:]
            key = ("loop", inside[0]) if inside else ("block", top)
            order.setdefault(key, []).append(b)
    return list(order.values())


def _top(program: Program, block: int, depth: int) -> int:
    """The outermost block around (or equal to) a block with as many loops around it."""
    own: Block = program.blocks[block]
    while own.parent >= 0 and len(program.blocks[own.parent].loops) >= depth:
        block, own = own.parent, program.blocks[own.parent]
    return block
