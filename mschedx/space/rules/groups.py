"""Groups of a convolution as an axis of their own, which makes it a batch of contractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.sym import Analyzer
from tvm.tirx import IntImm, IterVar

from .blocks import has_own_loops, is_parameter, positions, ranges, reads_in_place
from .index_maps import transform_axes


@dataclass(frozen=True, slots=True)
class Groups:
    """How a block reads by groups.

    Attributes
    ----------
    axis : int
        The output's channels, among the block's iteration variables.
    size : int
        Channels of a group.
    read : int
        The operand of which every group reads a part, by its place among the reads.
    dim : int
        Its dimension.
    part : int
        Elements of a part along it.
    """

    axis: int
    size: int
    read: int
    dim: int
    part: int


def groups_of(block: Any) -> Groups | None:
    """Find ``X[..., o // size * part + c, ...]`` among the reads of a reduction; None without.

    Parts of one element have nothing to multiply with: a depthwise convolution.

    Parameters
    ----------
    block : SBlock
    """
    if block.init is None or len(block.writes) != 1:
        return None
    axes, analyzer = positions(block), ranges(block)
    for read, region in enumerate(block.reads):
        for dim, interval in enumerate(region.region):
            quotients: list[Any] = []
            index = analyzer.simplify(interval.min)
            tvm_ffi.structural_walk(index, (tirx.FloorDiv, quotients.append))
            if len(quotients) != 1 or quotients[0].a not in axes:
                continue
            axis = axes[quotients[0].a]
            found = _sized(block, axis, quotients[0].b, region.source.shape[dim])
            if found is not None and _is_group(index, quotients[0], found[1], block, analyzer):
                return Groups(axis, found[0], read, dim, found[1])
    return None


def _sized(block: Any, axis: int, size: Any, extent: Any) -> tuple[int, int] | None:
    """Channels of a group, and of its part of an operand; None where they do not divide."""
    channels = block.iter_vars[axis]
    numbers = (size, extent, channels.dom.extent)
    if channels.iter_type != IterVar.DataPar or not all(isinstance(n, IntImm) for n in numbers):
        return None
    size, extent, total = map(int, numbers)
    groups = total // size
    fits = total % size == extent % groups == 0 and extent > groups
    return (size, extent // groups) if fits else None


def _is_group(index: Any, quotient: Any, part: int, block: Any, analyzer: Analyzer) -> bool:
    """Whether the rest of an index stays within the part that a group reads."""
    rest = analyzer.simplify(index - quotient * part)
    bounds = analyzer.const_int_bound(rest)
    return bounds.min_value >= 0 and bounds.max_value < part


def copies_input(sch: Any, block: Any) -> bool:
    """Whether splitting groups costs a copy of what they read: a parameter, which nothing pads."""
    groups = groups_of(sch.get(block))
    return groups is not None and is_parameter(sch, sch.get(block).reads[groups.read].source)


def split_groups(sch: Any, block: Any) -> Any | None:
    """Give a grouped contraction an axis for its groups, on a copy; None where it has none.

    Rewrite
    -------
    ::

        for o, i, c: C[o, i] += X[o // 8 * 4 + c, i] * W[o, c]

    becomes, what is read and written laid out by groups too::

        for g, f, i, c: C'[g, f, i] += X'[g, c, i] * W'[g, f, c]
        for g, f, i: C[8 * g + f, i] = C'[g, f, i]

    Parameters
    ----------
    sch : Schedule
    block : SBlockRV
        In loops of its own; means the same block in the copy.
    """
    groups = groups_of(sch.get(block))
    if groups is None or not has_own_loops(sch, block):
        return None
    written = _axes(sch, block, "write", 0)
    if groups.axis not in written:
        return None
    sch = sch.copy()
    layouts = [("write", 0, written.index(groups.axis), groups.size)]
    producers = []
    sink = sch.reindex(block, ("write", 0))
    for place, _ in enumerate(sch.get(block).reads):
        read = _axes(sch, block, "read", place)
        dim = groups.dim if place == groups.read else None
        if groups.axis in read:
            dim = read.index(groups.axis)
        if dim is not None:
            size = groups.part if place == groups.read else groups.size
            producers.append((_source(sch, block, place), dim, size))
            layouts.append(("read", place, dim, size))
    result, readers = sch.get(sink).writes[0].source, sch.get_consumers(sink)
    if len(readers) == 1 and reads_in_place(sch, readers[0], result):
        sch.compute_inline(sink)
        (sink,) = readers
    # Axes before layouts: TVM simplifies the indices that it lays out, and no others.
    for one, dim, size in ((sink, layouts[0][2], groups.size), *producers):
        axis = _axes(sch, one, "write", 0)[dim]
        if axis is not None:
            transform_axes(sch, one, _splitting(axis, size))
    transform_axes(sch, block, _splitting(groups.axis, groups.size))
    for kind, place, dim, size in layouts:
        sch.transform_layout(block, (kind, place), _splitting(dim, size))
    return sch


def _axes(sch: Any, block: Any, kind: str, place: int) -> list[int | None]:
    """For every dimension of what a block reads or writes, the axis that is the whole index."""
    body = sch.get(block)
    axes = positions(body)
    region = (body.reads if kind == "read" else body.writes)[place].region
    return [axes.get(interval.min) for interval in region]


def _source(sch: Any, block: Any, place: int) -> Any:
    """The block that writes what another reads; a copy where it is a parameter."""
    buffer = sch.get(block).reads[place].source
    if is_parameter(sch, buffer):
        return sch.cache_read(block, place, "global")
    writers = (
        one
        for one in sch.get_producers(block)
        if any(region.source.same_as(buffer) for region in sch.get(one).writes)
    )
    return next(writers)


def _splitting(place: int, size: int) -> Callable[..., Sequence[Any]]:
    """An index map that makes two indices of one."""

    def split(*index: Any) -> Sequence[Any]:
        whole = index[place]
        return [*index[:place], whole // size, whole % size, *index[place + 1 :]]

    return split
