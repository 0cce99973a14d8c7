"""GPU kernels: which loops are bound to which threads, and the shared memory of each.

Mirrors what ``VerifyGPUCode`` counts per kernel. Extents are held by
``test_exactness.py::test_lowered_programs``, verdicts by ``test_limits.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...algebra.expression import Expression, constant, multiply
from ...annotation_keys import WARP_EXECUTION
from ..fit.symbolic import SymbolicProgram
from ..model import AllocationInfo, KernelInfo
from ..read.program import Program
from .memory import is_shared
from .shared_memory import SharedMemory, shared_memory

_NONE = constant(0)


def outermost_loops(program: Program) -> list[int]:
    """The loops that no other is around: on a GPU, a kernel each."""
    return [index for index, loop in enumerate(program.loops) if loop.parent < 0]


def kernel_of(program: Program, block: int) -> int | None:
    """The position of the outermost loop above a block, and so of its kernel; None outside all."""
    loops = program.blocks[block].loops
    return outermost_loops(program).index(loops[0]) if loops else None


def kernels_of(
    found: SymbolicProgram, allocations: Sequence[AllocationInfo], warp: int
) -> tuple[KernelInfo, ...]:
    """Describe every kernel of a program whose loops are bound.

    Parameters
    ----------
    found : SymbolicProgram
    allocations : sequence of AllocationInfo
        ``kernel`` indexes the result.
    warp : int
        Threads of a warp, which blocks annotated for warp execution run on.
    """
    result = []
    for index, top in enumerate(outermost_loops(found.template)):
        extents = _bound(found, top, warp)
        own = [a for a in allocations if a.kernel == index and is_shared(a.scope)]
        shared = _shared(found, own)
        static = _shared(found, [a for a in own if a.scope == "shared"])
        result.append(
            KernelInfo(
                name=found.template.loops[top].name.split("/")[0],
                extents={tag: e for tag, e in extents.items() if e is not None},
                grid=_product(extents, "blockIdx"),
                threads=_product(extents, "threadIdx"),
                vthreads=_product(extents, "vthread"),
                shared_bytes=shared and shared.bytes,
                shared_at_least=shared and shared.at_least,
                static_bytes=static and (static.bytes or static.at_least),
                clashes=shared.clashes if shared else (),
            )
        )
    return tuple(result)


def _shared(found: SymbolicProgram, buffers: Sequence[AllocationInfo]) -> SharedMemory | None:
    return shared_memory(found.template, buffers) if buffers else SharedMemory(_NONE, _NONE)


def _bound(found: SymbolicProgram, top: int, warp: int) -> dict[str, Expression | None]:
    """Extents by thread tag, the first loop of a tag speaking for all."""
    program = found.template
    extents: dict[str, Expression | None] = {}
    inside = {top}
    for index, loop in enumerate(program.loops):
        if index in inside or loop.parent in inside:
            inside.add(index)
            if loop.thread:
                extents.setdefault(loop.thread, found.extents[index])
    for block in program.blocks:
        warps = WARP_EXECUTION in dict(block.annotations)
        if warps and block.loops and block.loops[0] == top:
            extents["threadIdx.x"] = constant(warp)
    return extents


def _product(extents: dict[str, Expression | None], prefix: str) -> Expression | None:
    parts = [e for tag, e in extents.items() if tag.startswith(prefix)]
    if None in parts or (not parts and prefix != "vthread"):
        return None
    return multiply(1, *(part for part in parts if part is not None))
