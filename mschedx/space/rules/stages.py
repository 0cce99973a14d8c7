"""The stages of a function that is no register-tiled contraction, and what they have in common.

A *stage* is a block at the root; its *axes* are positions among its iteration variables. The *rows*
of several stages are the axes along which all of them go side by side: ``i`` in a softmax whose
stages are ``max[i]``, ``exp[i, j]``, ``sum[i]``, ``out[i, j]``. One iteration of the rows needs
nothing of another, so that they are the axes to run in parallel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.tirx import IterVar

from .block_access import BlockAccess, access_of
from .blocks import constant_extent, has_own_loops, positions, ranges, root_blocks


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A block of constant extents whose output is indexed by its spatial axes.

    Attributes
    ----------
    block : SBlockRV
    extents : tuple of int
        Extent of every axis.
    spatial, reductions : tuple of int
        The axes by kind.
    output : tuple of int or None
        The axis that indexes each dimension of what is written; None for a constant index.
    dtype : str
        Type of what is written.
    reads : tuple of BlockAccess
    writes : tuple of Buffer
        More than one for sums side by side (of elements and of their squares).
    """

    block: Any
    extents: tuple[int, ...]
    spatial: tuple[int, ...]
    reductions: tuple[int, ...]
    output: tuple[int | None, ...]
    dtype: str
    reads: tuple[BlockAccess, ...]
    writes: tuple[Any, ...]

    @property
    def last(self) -> int | None:
        """The axis along which the output is contiguous; None for a scalar."""
        axes = [axis for axis in self.output if axis is not None and self.extents[axis] > 1]
        return axes[-1] if axes else None

    @property
    def stream(self) -> BlockAccess | None:
        """The operand that depends on most axes: its bytes are what the stage costs."""
        if not self.reads:
            return None
        return max(self.reads, key=lambda r: prod(self.extents[a] for a in r.axes))

    @property
    def along_reduction(self) -> bool:
        """Whether the contiguous direction of the stream is reduced."""
        stream = self.stream
        axis = None if stream is None else self.contiguous(stream)
        return axis in self.reductions

    def contiguous(self, access: BlockAccess) -> int | None:
        """The axis that the access moves by one element with, skipping dimensions of extent 1."""
        for axes, plain in zip(reversed(access.dims), reversed(access.plain)):
            long = [axis for axis in axes if self.extents[axis] > 1]
            if long:
                return plain
        return None

    def contiguous_reductions(self) -> list[int]:
        """The innermost axes that are reduced and, together, one contiguous run of the stream."""
        if not self.along_reduction or self.stream is None:
            return []
        run: list[int] = []
        for size, plain in zip(reversed(self.stream.buffer.shape), reversed(self.stream.plain)):
            if plain is None and constant_extent(size) == 1:
                continue
            if plain not in self.reductions:
                break
            run.insert(0, plain)
        while run and run != list(range(len(self.extents) - len(run), len(self.extents))):
            del run[0]
        return run

    def by_dimension(self, loops: Sequence[Any]) -> dict[int, Any]:
        """Loops over the dimensions of what is written, as those of a copy of it, by axis.

        Below 0 those of dimensions that no axis stands for: they have one iteration.
        """
        axes = [-1 - d if axis is None else axis for d, axis in enumerate(self.output)]
        return dict(zip(axes, loops, strict=True))

    def length(self, axes: Sequence[int]) -> int:
        """Product of the extents of some axes."""
        return prod(self.extents[axis] for axis in axes)


def stages_of(sch: Any) -> list[Stage] | None:
    """All blocks at the root in order; None if one of them is not a stage."""
    stages = [stage_of(sch, block) for block in root_blocks(sch)]
    return None if None in stages else [stage for stage in stages if stage is not None]


def stage_of(sch: Any, rv: Any) -> Stage | None:
    """Read a block as a stage; None if it is dynamic, opaque, empty, or not in loops of its own."""
    block = sch.get(rv)
    kinds = [iv.iter_type for iv in block.iter_vars]
    if not all(constant_extent(iv.dom.extent) for iv in block.iter_vars):
        return None
    if not kinds or not set(kinds) <= {IterVar.DataPar, IterVar.CommReduce}:
        return None
    # What chooses (arg max) is left to rules that know its combination; sums go side by side.
    if (
        not block.writes
        or (len(block.writes) > 1 and _chooses(block))
        or not has_own_loops(sch, rv)
    ):
        return None
    axes, analyzer = positions(block), ranges(block)
    extents = tuple(int(iv.dom.extent) for iv in block.iter_vars)
    writes = [access_of(region, axes, analyzer) for region in block.writes]
    reads = tuple(access_of(region, axes, analyzer) for region in block.reads)
    output = writes[0].plain
    spatial = tuple(p for p, kind in enumerate(kinds) if kind == IterVar.DataPar)
    written = [axis for axis in output if axis is not None]
    one_to_one = sorted(written) == sorted(set(written)) and set(written) <= set(spatial)
    whole = all(extents[axis] == 1 for axis in set(spatial) - set(written))
    same = all(write.plain == output for write in writes)
    if not (one_to_one and whole and same):
        return None
    return Stage(
        block=rv,
        extents=extents,
        spatial=spatial,
        reductions=tuple(p for p in range(len(kinds)) if p not in spatial),
        output=output,
        dtype=str(writes[0].buffer.dtype),
        reads=tuple(r for r in reads if all(r.buffer is not w.buffer for w in writes)),
        writes=tuple(write.buffer for write in writes),
    )


def _chooses(block: Any) -> bool:
    found: list[Any] = []
    tvm_ffi.structural_walk(block.body, (tirx.Select, found.append))
    return bool(found)


def common_rows(stages: Sequence[Stage]) -> list[list[int]] | None:
    """The axes that all stages share, in the order of the last one.

    Returns
    -------
    list of list of int or None
        For every stage its axes, row by row; None where a stage is not needed by the last one, or
        there is no common row of extent above 1.
    """
    last = stages[-1]
    rows: list[dict[int, int]] = [{} for _ in stages]
    rows[-1] = {axis: axis for axis in last.spatial}
    for position in range(len(stages) - 2, -1, -1):
        stage = stages[position]
        found: list[dict[int, int]] = []
        for reader, reader_rows in zip(stages[position + 1 :], rows[position + 1 :]):
            inverse = {axis: row for row, axis in reader_rows.items()}
            for read in reader.reads:
                if not any(read.buffer.same_as(buffer) for buffer in stage.writes):
                    continue
                found.append(
                    {
                        inverse[axis]: own
                        for axis, own in zip(read.plain, stage.output)
                        if axis in inverse and own is not None
                    }
                )
        if not found:
            return None
        agreed = set.intersection(*(set(f.items()) for f in found))
        rows[position] = dict(agreed)
    shared = sorted(set.intersection(*(set(r) for r in rows)))
    if not any(last.extents[row] > 1 for row in shared):
        return None
    return [[own[row] for row in shared] for own in rows]


def windowed_axes(stages: Sequence[Stage]) -> list[int]:
    """The axes of the last stage along which the first reduction reads through a window.

    What comes before it (padding) has more elements there than the last stage, so that these are
    no common rows; a chunk that takes several of their points computes the margin anew.
    """
    first = next((place for place, stage in enumerate(stages) if stage.reductions), len(stages))
    rows = common_rows(stages[first:]) if first < len(stages) else None
    if rows is None:
        return []
    window = stages[first]
    indices = [axes for read in window.reads for axes in read.dims]
    slid = frozenset().union(*(axes for axes in indices if axes & set(window.reductions)))
    return [last for own, last in zip(rows[0], rows[-1]) if own in slid]
