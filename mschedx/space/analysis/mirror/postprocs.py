"""What TVM's postprocs do to a scheduled program, as expressions.

``RewriteCooperativeFetch`` splits the last loop of an annotated block over the threads, and
``RewriteParallelVectorizeUnroll`` fuses outer and inner loops of every block by their extents. Both
choose by numbers, so the result is written with conditions rather than fitted.

Held by ``test_exactness.py::test_lowered_programs`` and ``test_tensor_core``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...algebra.expression import Expression, ceil_div, constant, multiply, where_divides
from ..fit.integers import Solver
from ..fit.symbolic import SymbolicProgram
from ..model import VectorInfo
from ..read.program import Block, Program, dtype_bytes
from .unrolling import UNROLL_EXPLICIT, UNROLL_IMPLICIT

FETCH = "meta_schedule.cooperative_fetch"

FETCH_BYTES = 4
"""Widest elements that a cooperative fetch makes vectors of."""


def annotation(
    programs: Sequence[Program], block: int, key: str, solver: Solver
) -> Expression | None:
    """Return the expression of a block's integer annotation; None when it has none."""
    values = [dict(p.blocks[block].annotations).get(key) for p in programs]
    if any(not isinstance(value, int) for value in values):
        return None
    return solver.solve(np.array(values, dtype=np.int64))


def used_bytes(program: Program, block: Block) -> int:
    """The widest element a block touches, in bytes."""
    names = {access.buffer for access in block.accesses}
    return max((dtype_bytes(b.dtype) for b in program.buffers if b.name in names), default=1)


def fetch(
    programs: Sequence[Program],
    found: SymbolicProgram,
    block: int,
    threads: Expression,
    solver: Solver,
) -> VectorInfo | None:
    """Derive a cooperative fetch: lanes per access and rounds per thread.

    The requested lanes are used when they divide the fused loop, otherwise one lane is.
    """
    own = found.template.blocks[block]
    lanes = annotation(programs, block, FETCH, solver)
    if lanes is None or not own.loops:
        return None
    total = found.extents[own.loops[-1]]
    if total is None:
        return VectorInfo(own.name)
    if used_bytes(found.template, own) > FETCH_BYTES:
        lanes = constant(1)
    vector = where_divides(lanes, total, lanes, 1)
    return VectorInfo(own.name, vector=vector, serial=ceil_div(total, multiply(threads, vector)))


def unroll(
    programs: Sequence[Program], program: Program, top: int, solver: Solver
) -> Expression | None:
    """Derive the automatic unrolling limit of a loop nest; 0 where nothing in it reduces.

    The postproc annotates the outermost loop of every block that reduces, so a limit holds for all
    that this loop encloses.
    """
    nest = [block for block in program.blocks if block.loops and block.loops[0] == top]
    if all(kind != "reduce" for block in nest for _, kind, _ in block.iters):
        return constant(0)
    for key in (UNROLL_EXPLICIT, UNROLL_IMPLICIT):
        value = annotation(programs, 0, key, solver)
        if value is not None:
            return value
    return constant(0)
