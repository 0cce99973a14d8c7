"""What a stage looks like inside a chunk: reductions outside, one vectorised axis inside.

Once a stage is computed at the chunk that needs it, it has a loop for each of its axes, in order.
The helpers here bring those loops into the shape that LLVM turns into straight vector code.
"""

from __future__ import annotations

from math import prod
from typing import Any

from tvm.tirx import IterVar

from .blocks import constant_extent, moves_by_one, positions
from .elementwise import call_function, vectorise
from .register_tile import vector_length
from .typical import sample_tile

# These are chosen by hand, not by a sweep.
_MOST_UNROLLED = 8
"""Vectors side by side whose sums have a register each."""

_WINDOW = 32
"""Terms of a sum that is unrolled around a row's vectors, in a chunk of several stages."""

_WINDOW_ROWS = 4
"""Rows of such a window's tile."""


def axes_of(sch: Any, block: Any) -> tuple[list[int], list[int], int | None]:
    """Spatial axes, reduced axes, and the axis along which the output is contiguous."""
    body: Any = sch.get(block)
    axes = positions(body)
    reduced = [p for p, iv in enumerate(body.iter_vars) if iv.iter_type == IterVar.CommReduce]
    spatial = [p for p in range(len(body.iter_vars)) if p not in reduced]
    last = None
    for interval in body.writes[0].region:
        axis = axes.get(interval.min)
        if axis is not None and constant_extent(body.iter_vars[axis].dom.extent) != 1:
            last = axis
    return spatial, reduced, last


def vectorise_inside(sch: Any, block: Any, loops: dict[int, Any], lanes: int) -> None:
    """Make the contiguous spatial axis of a block its innermost loop, in vectors.

    Rewrite
    -------
    ``for j: for r: y[j] += x[r, j]``  →
    ``y[:] = 0; for r: unroll jo: vectorise jv: y[lanes·jo + jv] += x[r, lanes·jo + jv]``

    and over a short window (pooling, depthwise convolution), which keeps its sums in registers,

    ``for i, j, r: y[i, j] += x[i + r, j]``  →
    ``for i0, jo: y[..] = 0; unroll r, i1: vectorise jv: y[i0, i1, jo, jv] += x[..]``

    Where a vector would have to be gathered, or does not divide the axis, the loop stays as it is.

    Parameters
    ----------
    loops : dict of int to LoopRV
        The block's loops inside the chunk, by axis.
    lanes : int
        Elements of a vector register.
    """
    spatial, reduced, last = axes_of(sch, block)
    reduced = [axis for axis in reduced if axis in loops]
    outer = [loops[axis] for axis in spatial if axis in loops and axis != last]
    inner: list[Any] = []
    vectors: list[Any] = []
    if last is not None and last in loops:
        vectors, inner = [loops[last]], []
        extent = constant_extent(sch.get(loops[last]).extent)
        length = None if extent is None else vector_length(extent, lanes)
        if length is not None and moves_by_one(sch, block, last, length):
            vector, lane = sch.split(loops[last], [None, length])
            vectors, inner = [vector], [lane]
    if not reduced:
        if inner:
            sch.reorder(*outer, *vectors, *inner)
            vectorise(sch, block, inner[0])
        elif vectors:
            call_function(sch, block, vectors[0])
        return
    for lane in inner:
        sch.vectorize(lane)
    sums = [loops[axis] for axis in reduced]
    if _is_window(sch, sums):
        _order_window(sch, outer, vectors, sums, inner)
    else:
        sch.reorder(*outer, *sums, *vectors, *inner)
        count = constant_extent(sch.get(vectors[0]).extent) if inner else None
        if count is not None and count <= _MOST_UNROLLED:
            sch.unroll(vectors[0])
    sch.decompose_reduction(block, sums[0])


def _is_window(sch: Any, loops: list[Any]) -> bool:
    extents = [constant_extent(sch.get(loop).extent) for loop in loops]
    return None not in extents and prod(e for e in extents if e is not None) <= _WINDOW


def _order_window(
    sch: Any, outer: list[Any], vectors: list[Any], sums: list[Any], inner: list[Any]
) -> None:
    tile: list[Any] = []
    if outer and (constant_extent(sch.get(outer[-1]).extent) or 1) > 1:
        # Neighbouring rows share what they load.
        factors = sample_tile(sch, outer[-1], 2, _WINDOW_ROWS)
        outer[-1], row = sch.split(outer[-1], factors)
        tile = [row]
    sch.reorder(*outer, *vectors, *sums, *tile, *inner)
    for loop in [*sums, *tile]:
        sch.unroll(loop)


def partial_sums(sch: Any, block: Any, lanes: int, most: int) -> list[tuple[Any, int]]:
    """Reduce a contiguous axis in independent lanes, then across them.

    Rewrite
    -------
    ``for r: s += x[r]``  →  with ``r = (ro, u, l)``, ``u`` sampled up to ``most``::

        for ro: unroll u: vectorise l < lanes: p[u, l] += x[ro, u, l]
        for u: vectorise l < lanes: q[l] += p[u, l]
        for a: vectorise b < lanes/4: t[b] += q[a, b]
        for b: s += t[b]

    A floating-point sum may not be reordered by a compiler, so that written as it is it takes the
    latency of an addition an element.

    Returns
    -------
    list of (SBlockRV, int)
        The blocks in order, each with the length of its vectors; the last one is ``block``.
    """
    dims = len(sch.get(block).writes[0].region)
    *_, axis = sch.get_loops(block)
    vectors, lane = sch.split(axis, [None, lanes])
    _, unrolled = sch.split(vectors, sample_tile(sch, vectors, 2, most))
    blocks = [(sch.rfactor(sch.fuse(unrolled, lane), dims), lanes)]
    while lanes > 2 and lanes % 4 == 0:
        *_, axis = sch.get_loops(block)
        _, lane = sch.split(axis, [None, lanes])
        blocks.append((sch.rfactor(lane, dims), lanes))
        lanes //= 4
    return [*blocks, (block, 1)]
