"""What TVM's postprocs do to a scheduled program, as expressions.

``RewriteCooperativeFetch`` splits the last loop of an annotated block over the threads, and
``RewriteParallelVectorizeUnroll`` fuses outer and inner loops of every block by their extents. Both
choose by numbers, so the result is written with conditions rather than fitted.

Held by ``test_exactness.py::test_lowered_programs`` and ``test_tensor_core``.
"""

from __future__ import annotations

from ...algebra.expression import Expression, ceil_div, constant, multiply, where_divides
from ...annotation_keys import COOPERATIVE_FETCH, UNROLL_EXPLICIT, UNROLL_IMPLICIT
from ..fit.replays import Replays
from ..model import VectorInfo
from ..read.program import Block, Program, dtype_bytes
from .kernels import kernel_of

FETCH_BYTES = 4
"""Widest elements that a cooperative fetch makes vectors of."""


def used_bytes(program: Program, block: Block) -> int:
    """The widest element a block touches, in bytes."""
    names = {access.buffer for access in block.accesses}
    return max((dtype_bytes(b.dtype) for b in program.buffers if b.name in names), default=1)


def fetch(replays: Replays, block: int, threads: Expression) -> VectorInfo | None:
    """Derive a cooperative fetch: lanes per access and rounds per thread.

    The requested lanes are used when they divide the fused loop, otherwise one lane is.
    """
    own = replays.template.blocks[block]
    lanes = replays.annotation(block, COOPERATIVE_FETCH)
    if lanes is None or not own.loops:
        return None
    total = replays.found.extents[own.loops[-1]]
    if total is None:
        return VectorInfo(own.name)
    if used_bytes(replays.template, own) > FETCH_BYTES:
        lanes = constant(1)
    vector = where_divides(lanes, total, lanes, 1)
    return VectorInfo(own.name, vector=vector, serial=ceil_div(total, multiply(threads, vector)))


def unroll(replays: Replays, kernel: int) -> Expression | None:
    """Derive the automatic unrolling limit below an outermost loop; 0 where nothing in it reduces.

    The postproc annotates the outermost loop of every block that reduces, so a limit holds for all
    that this loop encloses.
    """
    program = replays.template
    inside = [block for b, block in enumerate(program.blocks) if kernel_of(program, b) == kernel]
    if all(kind != "reduce" for block in inside for _, kind, _ in block.iters):
        return constant(0)
    for key in (UNROLL_EXPLICIT, UNROLL_IMPLICIT):
        value = replays.annotation(0, key)
        if value is not None:
            return value
    return constant(0)
