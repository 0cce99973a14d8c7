"""Layouts anew: the axes of a block, and the buffers it is reindexed to, fused by their roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm.tirx import IndexMap

from .blocks import positions


def indices_of(body: Any, region: Any) -> list[int]:
    """The axis that is the index of each dimension of a buffer that a block was reindexed to."""
    axes = positions(body)
    return [axes[bounds.min] for bounds in region.region]


def fusing(
    own: Sequence[int], roles: Sequence[Sequence[int]], extents: Sequence[int]
) -> Callable[..., list[Any]]:
    """An index map from one index per axis of ``own`` to one per role.

    ``(0, 2, 3)`` by roles ``(0,), (2, 3)``: ``i0, i2, i3`` becomes ``i0, i2 * extents[3] + i3``.

    Parameters
    ----------
    own : sequence of int
        The axes that a block or a buffer has, in its order.
    roles : sequence of sequence of int
        Axes that become one, outermost first; those that ``own`` lacks have extent 1.
    extents : sequence of int
        Of every axis.
    """

    def fuse(*index: Any) -> list[Any]:
        by_axis = dict(zip(own, index))
        fused = []
        for role in roles:
            first, *rest = (axis for axis in role if axis in by_axis)
            total = by_axis[first]
            for axis in rest:
                total = total * extents[axis] + by_axis[axis]
            fused.append(total)
        return fused

    return fuse


def transform_axes(sch: Any, block: Any, new: Callable[..., Sequence[Any]]) -> None:
    """Give a block the axes that an index map makes of its own."""
    axes = sch.get(block).iter_vars
    index_map = IndexMap.from_func(new, ndim=len(axes), index_dtype=str(axes[0].var.ty))
    sch.transform_block_layout(block, index_map)
