"""Reductions with few results: all cores share the long axis and read it in long runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tvm import DataType

from mschedx.hardware import Hardware

from .blocks import moves_by_one, own_loops
from .register_tile import vector_length
from .stages import Stage, stage_of
from .typical import sample_tile

MOST_STREAMS = 16
"""Rows read side by side: what prefetchers follow at once."""

# The next three are chosen by hand, not by a sweep.
TERMS_A_CORE = 16
"""Least terms of a sum, for each core, of which parts are worth another pass over their results."""

RESULTS_A_CORE = 8
"""Sums along rows, for each core, from which on cores share the rows evenly enough."""

L2_SHARE = 1 / 8
"""Of a second-level cache, for what should lie in the first: the rest is of the rows to come."""


def split_reduction(sch: Any, stage: Stage) -> tuple[Stage, Stage]:
    """Cut the longest reduced axis into parts with results of their own.

    Rewrite
    -------
    ``for j, r: y[j] += x[r, j]``  →  with a sampled number of parts ``p``::

        for p, j, r: part[p, j] += x[(p, r), j]
        for j, p: y[j] += part[p, j]

    Returns
    -------
    (Stage, Stage)
        The parts and their sum, both unscheduled.
    """
    axis = max(stage.reductions, key=lambda a: stage.extents[a])
    loop = sch.get_loops(stage.block)[axis]
    parts, _ = sch.split(loop, sample_tile(sch, loop, 2))
    part = sch.rfactor(parts, 0)
    loops = sch.get_loops(part)
    spatial = [loops[a] for a in stage.spatial]
    # The new axis comes first among the axes of both blocks, so its loop does too.
    rest = [loop for a, loop in enumerate(loops) if a != axis and a not in stage.spatial]
    sch.reorder(loops[axis], *spatial, *rest)
    *outputs, addends = sch.get_loops(stage.block)
    sch.reorder(addends, *outputs)
    first, second = stage_of(sch, part), stage_of(sch, stage.block)
    assert first is not None
    assert second is not None
    inner = first.reductions[stage.reductions.index(axis)]
    extent = stage.extents[axis]
    return (
        _left_open(first, {first.spatial[0], inner}, extent),
        _left_open(second, set(second.reductions), extent),
    )


def _left_open(part: Stage, both: set[int], extent: int) -> Stage:
    """Forget how a sampled split happens to fall: as 1 it would make its other half look whole.

    What is decided by a stage's extents and accesses must hold for every config.
    """
    extents = tuple(extent if axis in both else e for axis, e in enumerate(part.extents))
    reads = tuple(
        replace(
            read,
            plain=tuple(None if axes & both else p for p, axes in zip(read.plain, read.dims)),
            dims=tuple(axes | both if axes & both else axes for axes in read.dims),
        )
        for read in part.reads
    )
    return replace(part, extents=extents, reads=reads)


def stream_columns(sch: Any, part: Stage, hw: Hardware) -> None:
    """Let every chunk read its rows of the operand from end to end.

    Rewrite
    -------
    The parts of a matrix-vector product, with ``r = (r0, r1)`` sampled::

        for p, j, r: part[p, j] += a[p, r] * B[(p, r), j]

    becomes::

        parallel p:
            part[p, :] = 0
            for r0: for j0: unroll r1: vectorise jv:
                part[p, 16·j0 + jv] += a[p, r0, r1] * B[(p, r0, r1), 16·j0 + jv]

    ``r1`` rows are read side by side, and a partial sum is loaded and stored once for all of them.
    """
    loops = own_loops(sch, part.block)
    column = part.last
    assert column is not None
    first, *spatial = [axis for axis in part.spatial if axis != column]
    *reduced, long = part.reductions
    most = MOST_STREAMS
    steps, streams = sch.split(loops[long], sample_tile(sch, loops[long], 2, most))
    length = vector_length(part.extents[column], hw.lanes(part.dtype))
    vectors, lane = [loops[column]], []
    if length is not None and moves_by_one(sch, part.block, column):
        vector, inner = sch.split(loops[column], [None, length])
        vectors, lane = [vector], [inner]
        sch.vectorize(inner)
    outer = [loops[axis] for axis in [*spatial, *reduced]]
    inside = [*vectors, streams, *lane] if lane else [streams, *vectors]
    sch.reorder(loops[first], *outer, steps, *inside)
    sch.parallel(loops[first])
    if lane:
        sch.unroll(streams)
    sch.decompose_reduction(part.block, loops[reduced[0]] if reduced else steps)


def worth_splitting(stage: Stage, hw: Hardware) -> bool:
    """Whether the results are so few, and their sums so long, that cores should share the sums."""
    if not stage.reductions or len(stage.writes) > 1:
        return False
    results, terms = stage.length(stage.spatial), stage.length(stage.reductions)
    if terms < TERMS_A_CORE * hw.cores:
        return False
    if stage.along_reduction:
        return results < RESULTS_A_CORE * hw.cores
    # A part's results stay in the first-level cache beside the row that streams through.
    dtypes = [stage.dtype] if stage.stream is None else [stage.dtype, stage.stream.buffer.dtype]
    each = sum(DataType(str(dtype)).bits // 8 for dtype in dtypes)
    return results * each <= hw.l1d_bytes + hw.l2_bytes * L2_SHARE
