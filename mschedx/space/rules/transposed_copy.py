"""Copies that lie the other way round, through registers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.ir import TensorLoad

from mschedx.hardware import Hardware
from mschedx.intrinsics.x86_transpose import Transpose, find_transpose

from .block_access import BlockAccess
from .index_maps import transform_axes
from .register_tile import vector_length
from .stages import Stage
from .typical import sample_tile


def transpose_of(sch: Any, stage: Stage, hw: Hardware) -> Transpose | None:
    """The block copy that a stage consists of; None where it does more, or rows do not fit it.

    Parameters
    ----------
    sch : Schedule
    stage : Stage
        Without reductions; reads and writes float32.
    hw : Hardware
    """
    along = _axes(stage)
    moved = getattr(sch.get(stage.block).body, "value", None)
    if along is None or not isinstance(moved, TensorLoad):
        return None
    across, run = along
    if not stage.dtype == str(stage.reads[0].buffer.dtype) == "float32":
        return None
    lanes = vector_length(stage.extents[across], hw.lanes(stage.dtype))
    if lanes is None:
        return None
    gaps = (_between(stage.reads[0].plain, across, run), _between(stage.output, run, across))
    return find_transpose(lanes, stage.extents[run], (), gaps)


def turned_reads(stage: Stage) -> list[int]:
    """The operands of an elementwise stage that lie the other way round, by their places."""
    if stage.reductions:
        return []
    return [place for place, read in enumerate(stage.reads) if _ways(stage, read) is not None]


def turned_alike(stage: Stage) -> list[int] | None:
    """The axes of an elementwise stage in the order in which all of its operands lie.

    Operands with fewer of the axes, such as a bias, lie in neither way where they have one alone.
    None where an operand lies as what is written does, or two lie differently.
    """
    turned = turned_reads(stage)
    orders = {tuple(a for a in stage.reads[place].plain if a is not None) for place in turned}
    others = [read for place, read in enumerate(stage.reads) if place not in turned]
    long = [[axis for axis in read.axes if stage.extents[axis] > 1] for read in others]
    if len(orders) != 1 or any(len(axes) > 1 for axes in long):
        return None
    (order,) = orders
    return [*(axis for axis in range(len(stage.extents)) if axis not in order), *order]


def _between(dims: Sequence[int | None], first: int, last: int) -> int:
    """Dimensions between those of two axes; -1 where the last one is not the last dimension."""
    place = list(dims).index(first)
    return len(dims) - place - 2 if dims[-1] == last else -1


def _axes(stage: Stage) -> tuple[int, int] | None:
    """The axes that are contiguous in what is written and in what is read, if they differ."""
    if stage.reductions or len(stage.reads) != 1:
        return None
    return _ways(stage, stage.reads[0])


def _ways(stage: Stage, read: BlockAccess) -> tuple[int, int] | None:
    """As `_axes`, of one of several operands."""
    across, run = stage.last, stage.contiguous(read)
    plain = all(one is not None or not axes for one, axes in zip(read.plain, read.dims))
    if across is None or run is None or across == run or not plain or across not in read.plain:
        return None
    return across, run


def transpose_blocks(sch: Any, stage: Stage, transpose: Transpose) -> None:
    """Copy block by block in registers, some blocks a chunk.

    Rewrite
    -------
    ``for i, j: Y[i, j] = X[j, i]``  →  with ``j = (j0, j1, 16)`` and ``i = (i0, i1, 16)``::

        parallel j0, i0: for j1, i1: transpose(Y[16 rows of i, 16 of j], X[16 rows of j, 16 of i])

    Written as loops it is a gather or a scatter for every vector.

    Parameters
    ----------
    sch : Schedule
        Changed in place.
    stage : Stage
        Of which :func:`transpose_of` gives ``transpose``.
    """
    along = _axes(stage)
    assert along is not None
    order = [axis for axis in range(len(stage.extents)) if axis not in along] + list(along)
    transform_axes(sch, stage.block, lambda *index: [index[axis] for axis in order])
    *outer, across, run = sch.get_loops(stage.block)
    blocks, lanes = sch.split(across, [None, transpose.lanes])
    pieces, inside = sch.split(run, [None, transpose.run])
    block_chunk, block = sch.split(blocks, sample_tile(sch, blocks, 2))
    piece_chunk, piece = sch.split(pieces, sample_tile(sch, pieces, 2))
    sch.reorder(*outer, block_chunk, piece_chunk, block, piece, inside, lanes)
    sch.parallel(sch.fuse(*outer, block_chunk, piece_chunk))
    sch.tensorize(inside, transpose.name)
