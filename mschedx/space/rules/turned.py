"""Functions of what lies the other way round, which registers turn before it is read, or behind.

Written as one loop such a function gathers or scatters every vector. Each way here makes a copy
that :mod:`.transposed_copy` takes, and leaves the rest of the function with vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mschedx.hardware import Hardware

from .blocks import is_copy
from .fused_rows import across_rows, fuse_rows
from .index_maps import transform_axes
from .stages import Stage, common_rows, stage_of
from .transposed_copy import transpose_blocks, transpose_of, turned_alike, turned_reads


def turn_last(sch: Any, stages: Sequence[Stage], hw: Hardware) -> bool:
    """Turn what the last stage reads or, where all of it lies alike, what the last stage makes.

    Parameters
    ----------
    sch : Schedule
        Changed in place.
    stages : sequence of Stage
        The last one reads something that lies the other way round (`turned_reads`).
    hw : Hardware

    Returns
    -------
    bool
        False where no registers turn it, or what is before it has no common rows.
    """
    order = turned_alike(stages[-1]) if len(stages[-1].reads) > 1 else None
    if order is None:
        return _turn_apart(sch, stages, hw)
    return _turn_behind(sch, stages, order, hw)


def _turn_apart(sch: Any, stages: Sequence[Stage], hw: Hardware) -> bool:
    """Turn what the last stage reads by copies, and what is before them and behind alone.

    Rewrite
    -------
    ``for j, i: y[j, i] = max(x[i, j], z[j, i])``  →
    ``t[j, i] = x[i, j] through registers; for j, i: y[j, i] = max(t[j, i], z[j, i]), in vectors``
    """
    *before, last = stages
    rows = common_rows(before) if before else []
    copies: list[Stage | None] = [last]
    behind: Stage | None = None
    if not is_copy(sch.get(last.block)):
        turned = turned_reads(last)
        copies = [stage_of(sch, sch.reindex(last.block, ("read", place))) for place in turned]
        behind = stage_of(sch, last.block)
        if behind is None:
            return False
    transposes = [None if copy is None else transpose_of(sch, copy, hw) for copy in copies]
    if rows is None or None in transposes:
        return False
    if before:
        fuse_rows(sch, before, rows, hw)
    if behind is not None:
        fuse_rows(sch, [behind], [list(behind.spatial)], hw)
    for copy, transpose in zip(copies, transposes):
        assert copy is not None
        assert transpose is not None
        transpose_blocks(sch, copy, transpose)
    return True


def _turn_behind(sch: Any, stages: Sequence[Stage], order: Sequence[int], hw: Hardware) -> bool:
    """Compute the last stage as its operands lie, with what is before it, and turn the result.

    Rewrite
    -------
    ``for j, i: y[j, i] = x[i, j] * s[i, j]``  →
    ``for i, j: u[i, j] = x[i, j] * s[i, j], in vectors; y[j, i] = u[i, j] through registers``
    """
    last = stages[-1].block
    transform_axes(sch, last, lambda *index: [index[axis] for axis in order])
    copy = stage_of(sch, sch.reindex(last, ("write", 0)))
    transpose = None if copy is None else transpose_of(sch, copy, hw)
    return _beside(sch, stages, copy, transpose, hw)


@dataclass(frozen=True)
class TurnedOperand:
    """An operand of the function in which rows are contiguous, and what is reduced is not.

    Attributes
    ----------
    buffer : Buffer
    readers : tuple of Stage
        The stages that read it.
    order : tuple of int
        Its dimensions in the order in which it should lie: rows first.
    """

    buffer: Any
    readers: tuple[Stage, ...]
    order: tuple[int, ...]


def turned_operand(stages: Sequence[Stage], rows: Sequence[list[int]]) -> TurnedOperand | None:
    """Find what a softmax or normalisation along rows reads across them; None without any.

    Parameters
    ----------
    stages : sequence of Stage
    rows : sequence of list of int
        As :func:`.stages.common_rows` gives them. Where a vector may hold several rows nothing lies
        the other way round.
    """
    if across_rows(stages, rows):
        return None
    for stage, own in zip(stages, rows):
        for read in stage.reads:
            made = any(read.buffer.same_as(one) for other in stages for one in other.writes)
            if not made and stage.contiguous(read) in own:
                found = _lying_across(read.buffer, stages, rows)
                if found is not None:
                    return found
    return None


def _lying_across(
    buffer: Any, stages: Sequence[Stage], rows: Sequence[list[int]]
) -> TurnedOperand | None:
    """An operand that all of its readers read across their rows, its dimensions apart."""
    readers: list[Stage] = []
    orders: set[tuple[int, ...]] = set()
    for stage, own in zip(stages, rows):
        for read in stage.reads:
            if not read.buffer.same_as(buffer):
                continue
            dims = range(len(read.plain))
            apart = all(read.plain[dim] is not None or not read.dims[dim] for dim in dims)
            if not apart or stage.contiguous(read) not in own:
                return None
            readers.append(stage)
            of_rows = [dim for dim in dims if read.plain[dim] is None or read.plain[dim] in own]
            orders.add((*of_rows, *(dim for dim in dims if dim not in of_rows)))
    (order, *others) = orders
    whole = not others and list(order) != sorted(order)
    return TurnedOperand(buffer, tuple(readers), order) if whole else None


def turn_first(sch: Any, stages: Sequence[Stage], operand: TurnedOperand, hw: Hardware) -> bool:
    """Turn an operand of the function by a copy, once for all stages, which then run along rows.

    Rewrite
    -------
    ``for i, r: max[i] = max(max[i], x[r, i]); for i, j: e[i, j] = exp(x[j, i] - max[i]); ...``  →
    ``t[i, r] = x[r, i] through registers; parallel i: max of t[i, :]; exp of t[i, :]; ...``

    Returns
    -------
    bool
        False where no registers turn it.
    """
    blocks = [stage.block for stage in operand.readers]
    read = sch.get(blocks[0]).reads
    place = next(n for n, region in enumerate(read) if region.source.same_as(operand.buffer))
    moved = sch.cache_read(blocks[0], place, "global", blocks)
    sch.transform_layout(moved, ("write", 0), lambda *index: [index[dim] for dim in operand.order])
    copy = stage_of(sch, moved)
    transpose = None if copy is None else transpose_of(sch, copy, hw)
    return _beside(sch, stages, copy, transpose, hw)


def _beside(
    sch: Any, stages: Sequence[Stage], copy: Stage | None, transpose: Any, hw: Hardware
) -> bool:
    """Fuse the stages, whose accesses have changed, and turn by a copy of its own."""
    read = [stage_of(sch, stage.block) for stage in stages]
    whole = [stage for stage in read if stage is not None]
    rows = common_rows(whole) if len(whole) == len(read) else None
    if copy is None or transpose is None or rows is None:
        return False
    fuse_rows(sch, whole, rows, hw)
    transpose_blocks(sch, copy, transpose)
    return True
