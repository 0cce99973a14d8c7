"""Rows that lie behind each other in everything that a block touches, taken for one."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm.ir import TensorLoad
from tvm.tirx.analysis import undefined_vars

from .blocks import choices, constant_extent, nodes, positions
from .register_tile import vector_length


def join_rows(sch: Any, block: Any, loops: dict[int, Any], lanes: int) -> dict[int, Any]:
    """Fuse the loops of an elementwise block's rows where no vector divides one, but several.

    Rewrite
    -------
    ``for c, i, j: y[c, i, j] = x[c, i, j] * s[c]``  →  ``for c: for ij: ...``, with 28 × 28 pixels
    as 784, which are 49 vectors

    Parameters
    ----------
    loops : dict of int to LoopRV
        The block's loops by axis, those of its last axes innermost and in order.
    lanes : int
        Elements of a vector register.

    Returns
    -------
    dict of int to LoopRV
        The loops left, the fused one under the last axis that has several points; all as they were
        where nothing is gained.
    """
    run = [axis for axis in _run(sch.get(block)) if axis in loops]
    extents = [constant_extent(sch.get(loops[axis]).extent) or 0 for axis in run]
    while len(run) > 1 and extents[-1] == 1:  # `Stage.last` passes over these, too
        del run[-1], extents[-1]
    if not run or vector_length(extents[-1], lanes) is not None:
        return loops
    for first in range(len(run) - 2, -1, -1):
        if vector_length(prod(extents[first:]), lanes) is None:
            continue
        fused = sch.fuse(*(loops[axis] for axis in run[first:]))
        left = {axis: loop for axis, loop in loops.items() if axis not in run[first:]}
        return {**left, run[-1]: fused}
    return loops


def _run(body: Any) -> list[int]:
    """The axes that are one contiguous run of all that is read and written, outermost first."""
    axes = positions(body)
    extents = [constant_extent(iv.dom.extent) for iv in body.iter_vars]
    loads = [node for node in nodes(body.body) if isinstance(node, TensorLoad)]
    chosen = {var for condition in choices(body.body) for var in undefined_vars(condition)}

    def trailing(indices: Any, shape: Any) -> list[int]:
        found: list[int] = []
        for index, size in zip(reversed(indices), reversed(shape)):
            axis = axes.get(index)
            if axis is None or index in chosen:
                break
            found.insert(0, axis)
            if extents[axis] != constant_extent(size):
                break
        return found

    written = body.writes[0]
    run = trailing([interval.min for interval in written.region], written.source.shape)
    for load in loads:
        used = {axes[var] for index in load.indices for var in undefined_vars(index) if var in axes}
        along = trailing(load.indices, load.source.shape)
        while run and used & set(run) and along[-len(run) :] != run:
            del run[0]
    return run
