"""What keeps LLVM busy: gathered vectors of several registers, unrolled into one block.

A vector of lanes that are rows apart is loaded element by element and put together; unrolled, that
is a block of as many loads, insertions and shuffles, over which LLVM's passes take more than
linear time. A vector of several registers costs each of them again for every lane, hence::

    effort = Σ accesses  unrolled iterations · lanes · (lanes / lanes of a register)²

over accesses of more than one register. Vectors of one are not counted: they take as long in some
programs, and are the fastest there are in others. Neither are loops inside of that of the lanes
(the blocks of a dot product of bytes), which make other code. Measured against CPU seconds of
compiling in ``docs/findings.md``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .view import AccessView, FloatArray, ProgramAt, StatementView

BoolArray = NDArray[np.bool_]

ALWAYS_UNROLLED = 32.0
"""Iterations up to which LLVM unrolls loops of its own accord."""

NEAR = 4
"""Elements between lanes up to which LLVM loads whole vectors and shuffles."""


def gathered_lanes(program: ProgramAt, vector_bytes: int) -> FloatArray:
    """The effort of compiling a program at n configs: [n], 0 where nothing is gathered.

    Parameters
    ----------
    program : ProgramAt
    vector_bytes : int
        Of a register, > 0.
    """
    effort = np.zeros(program.count)
    for view in program.statements:
        position = _lane_loop(view)
        if position is None:
            continue
        iterations = unrolled_iterations(view)
        innermost = view.extents[position + 1 :].prod(axis=0) == 1
        for access in view.accesses:
            registers = np.ceil(view.lanes * access.access.element_bytes / vector_bytes)
            counts = _is_gathered(access, position) & innermost & (registers > 1)
            effort = effort + np.where(counts, iterations * view.lanes * registers**2, 0.0)
    return effort


def unrolled_iterations(view: StatementView) -> FloatArray:
    """Iterations of the inner loops that are unrolled, those of lanes left out: [n]."""
    iterations, going = np.ones(len(view.lanes)), np.ones(len(view.lanes), dtype=bool)
    limit = np.maximum(view.unroll, ALWAYS_UNROLLED)
    for position in reversed(range(len(view.extents))):
        kind, extent = view.statement.loops[position].kind, view.extents[position]
        if kind in ("vectorized", "intrinsic"):
            continue
        if kind == "serial":
            going = going & ((iterations * extent <= limit) | (extent == 1))
        elif kind != "unrolled":
            break
        iterations = np.where(going, iterations * extent, iterations)
    return iterations


def _lane_loop(view: StatementView) -> int | None:
    """The loop whose iterations are lanes; None where there is none, or an instruction's."""
    loops = view.kinds("vectorized")
    return loops[-1] if loops and not view.statement.intrinsic else None


def _is_gathered(access: AccessView, position: int) -> BoolArray:
    """Whether lanes are not known to be neighbours, nearly so, or all the same: bool [n]."""
    stride = np.abs(access.strides[position])
    return np.isnan(stride) | (stride > NEAR)
