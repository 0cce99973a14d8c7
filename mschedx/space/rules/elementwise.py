"""Loops of copies and elementwise blocks, said explicitly instead of left to a postproc."""

from __future__ import annotations

from typing import Any

from tvm.tirx import IntImm
from tvm.tirx.analysis import undefined_vars

from mschedx.intrinsics.vector_math import SCALAR, VectorFunction, find_vector_function

from .blocks import constant_extent, has_while


def vectorise(sch: Any, block: Any, lane: Any) -> None:
    """Make the innermost loop of a block one vector, by a vector function where the block has one.

    The last thing that is done to a block: what makes what it reads is moved before, since no
    primitive moves a block once one that reads it is an intrinsic.

    Rewrite
    -------
    ``for v < 16: e[i, v] = exp(x[i, v] - m[i])``  →  ``vectorise v: ...``, and where the whole
    expression is a form of :mod:`mschedx.intrinsics.vector_math`, the call of it: TVM would
    take a vector's exp apart into scalar calls.
    """
    loop: Any = sch.get(lane)
    found = None
    if isinstance(loop.extent, IntImm):
        found = _function_along(sch, block, loop, int(loop.extent))
    if found is None:
        sch.vectorize(lane)
    else:
        sch.tensorize(lane, found.name)


def call_function(sch: Any, block: Any, along: Any) -> None:
    """Call a function for every element of a block's innermost loop, where the block has one.

    For loops that no vectors divide: LLVM inlines the function, makes vectors of the loop and masks
    the rest. Rows of 197 exponentials take 0.19 ns an element so, and 1.3 by the C library.

    Rewrite
    -------
    ``for j: e[j] = exp(x[j] - m)``  →  ``for j: mschedx_exp(e[j], x[j], m)``
    """
    found = _function_along(sch, block, sch.get(along), SCALAR)
    if found is not None:
        _, one = sch.split(along, [None, SCALAR])
        sch.tensorize(one, found.name)


def _function_along(sch: Any, block: Any, loop: Any, lanes: int) -> VectorFunction | None:
    """The function of so many lanes that a block applies along the loop right around it."""
    # TVM tensorises no block that is skipped at some points (those of a margin).
    always = isinstance(getattr(loop.body, "predicate", None), IntImm)
    values = loop.body.iter_values if always else ()
    axes = [a for a, value in enumerate(values) if loop.loop_var in undefined_vars(value)]
    return find_vector_function(sch.get(block), axes[0], lanes) if len(axes) == 1 else None


def vectorise_innermost(sch: Any, block: Any, lanes: int) -> Any:
    """Vectorise ``lanes`` iterations of the block's innermost loop, if they divide it.

    Returns the loop around the vector, or the innermost loop as it is. The block itself may be
    another afterwards: that of a vector function.

    Rewrite
    -------
    ``for i: X[i] = ...``  →  ``for i0: vectorise i1 < lanes: X[i0·lanes + i1] = ...``
    """
    outer, inner = split_lanes(sch, block, lanes)
    if inner is not None:
        vectorise(sch, block, inner)
    return outer


def split_lanes(sch: Any, block: Any, lanes: int) -> tuple[Any, Any | None]:
    """Split ``lanes`` iterations off the block's innermost loop, if they divide it and can be one.

    Returns the loop around them and theirs, or the innermost loop as it is and None.
    """
    innermost = sch.get_loops(block)[-1]
    extent = constant_extent(sch.get(innermost).extent)
    fits = extent is not None and extent % lanes == 0
    if lanes == 1 or not fits or has_while(sch.get(block)):
        return innermost, None
    outer, inner = sch.split(innermost, [None, lanes])
    return outer, inner


def parallelise_copy(sch: Any, block: Any, lanes: int) -> None:
    """Give a copy at the root all cores, and vectors where its rows allow.

    Rewrite
    -------
    ``for i, j, k: X[i, j, k] = ...``  →
    ``parallel i·j: for k0: vectorise k1 < lanes: X[i, j, k] = ...``
    """
    loops = sch.get_loops(block)
    if len(loops) > 1:
        sch.parallel(sch.fuse(*loops[:-1]))
        vectorise_innermost(sch, block, lanes)
    else:
        sch.parallel(vectorise_innermost(sch, block, lanes))
