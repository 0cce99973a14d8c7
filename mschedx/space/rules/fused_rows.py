"""Stages that go side by side, fused under one parallel loop: softmax, normalisations, pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mschedx.hardware import Hardware

from .blocks import moves_by_one, own_loops
from .elementwise import call_function, vectorise
from .inner_loops import partial_sums, vectorise_inside
from .joined_rows import join_rows
from .ragged_rows import factors, feed, fill_rows
from .register_tile import vector_length
from .stages import Stage, windowed_axes
from .typical import largest_divisor, sample_tile
from .window_tile import is_window, tile_window

MOST_PARTIAL_SUMS = 8
"""Vectors of partial sums of a reduction: more than any latency times any throughput."""

_FEWEST_LANES = 4
"""Of partial sums, where what divides a run decides; for fewer it stays one chain. By hand."""


def fuse_rows(sch: Any, stages: Sequence[Stage], rows: Sequence[list[int]], hw: Hardware) -> None:
    """Compute all stages of a chunk one after the other, chunks in parallel.

    Rewrite
    -------
    Where the reductions run along the contiguous direction (softmax over the last axis)::

        for i, r: max[i] = max(max[i], x[i, r])        parallel i0: for i1:
        for i, j: e[i, j] = exp(x[i, j] - max[i])  →       max (partial sums); exp, vectorised;
        for i, r: sum[i] += e[i, r]                        sum (partial sums); out, vectorised
        for i, j: out[i, j] = e[i, j] / sum[i]

    (rows that no vectors divide are filled up, :func:`~.ragged_rows.fill_rows`); where they run
    across it (mean over rows, softmax over channels), a chunk is some vectors of
    the contiguous axis, and its sums stay in registers::

        for j, r: s[j] += x[r, j]       →   parallel j0: s[:] = 0;
        for j: y[j] = s[j] / n                  for r: unroll j1: vectorise j2: s[j] += x[r, j]
                                                for j1: vectorise j2: y[j] = s[j] / n

    and where they run over a window of many points, a chunk is also some rows of the image, with
    what pads them (a short one, of pooling or a depthwise convolution, is :func:`tile_window`'s)::

        for i, j: p[i, j] = x[i - 1, j]     →   parallel i0, j0: p of i1 + 2 rows, vectorised;
        for i, r, j: y[i, j] += p[i + r, j]         for i1: y[i, :] += p[i + r, :]

    Parameters
    ----------
    sch : Schedule
        Changed in place.
    stages : sequence of Stage
        In order; the last one is the output.
    rows : sequence of list of int
        For every stage its shared axes, as :func:`stages.common_rows` gives them.
    hw : Hardware
    """
    if is_window(stages):
        tile_window(sch, stages, hw)
    elif across_rows(stages, rows):
        _fuse_vectors(sch, stages, rows, hw)
    else:
        _fuse_scalars(sch, stages, rows, hw)


def across_rows(stages: Sequence[Stage], rows: Sequence[list[int]]) -> bool:
    """Whether neighbouring rows are neighbours in memory, so that a vector holds several rows."""
    along = any(stage.along_reduction for stage in stages if stage.reductions)
    return stages[-1].last in rows[-1] and not along


def _fuse_scalars(
    sch: Any, stages: Sequence[Stage], rows: Sequence[list[int]], hw: Hardware
) -> None:
    """A chunk is one row of every stage."""
    parts = [part for stage in stages for part in _parts(sch, stage, hw)]
    *producers, (anchor, lanes, _) = parts
    loops = sch.get_loops(anchor)
    row_loops = [loops[axis] for axis in rows[-1]]
    rest = [loop for axis, loop in enumerate(loops) if axis not in rows[-1]]
    sch.reorder(*row_loops, *rest)
    chunk = sch.fuse(*row_loops) if row_loops else sch.add_unit_loop(anchor)
    sch.parallel(chunk)
    # Unit loops are kept: a structure that depended on an extent being 1 would be two sketches.
    for block, _, feeders in reversed(producers):
        for one in (block, *reversed(feeders)):
            sch.compute_at(one, chunk, preserve_unit_loops=True)
    for block, length, feeders in producers:
        vectorise_inside(sch, block, own_loops(sch, block), length)
        if feeders:
            feed(sch, feeders, block)
    if lanes == 1 and rest:
        sch.decompose_reduction(anchor, rest[0])
    else:
        axes = [axis for axis in range(len(loops)) if axis not in rows[-1]]
        inside = dict(zip(axes, rest))
        if not stages[-1].reductions:
            inside = join_rows(sch, anchor, inside, lanes)
        vectorise_inside(sch, anchor, inside, lanes)


def _parts(sch: Any, stage: Stage, hw: Hardware) -> list[tuple[Any, int, tuple[Any, ...]]]:
    """As :func:`in_lanes`, each with the blocks that fill up a row for it where vectors do not."""
    lanes = hw.lanes(stage.dtype)
    length = stage.length(stage.contiguous_reductions())
    whole = vector_length(length, lanes) == largest_divisor(length, lanes)
    feeders = None if whole else fill_rows(sch, stage, hw)
    if feeders is None:
        return [(block, length, ()) for block, length in in_lanes(sch, stage, lanes)]
    (first, _), *rest = partial_sums(sch, stage.block, lanes, MOST_PARTIAL_SUMS)
    return [(first, lanes, feeders), *((block, length, ()) for block, length in rest)]


def in_lanes(sch: Any, stage: Stage, lanes: int) -> list[tuple[Any, int]]:
    """The stage's block, or those that reduce its contiguous axis in lanes; lengths of vectors.

    What TVM cannot factor stays one block, and costs the function its lanes alone.
    """
    run = stage.contiguous_reductions()
    # Computed elsewhere, what rfactor makes has no guard for a rest: lanes must divide the run.
    lanes_of_run = largest_divisor(stage.length(run), lanes)
    if lanes_of_run < _FEWEST_LANES or not factors(sch.get(stage.block)):
        return [(stage.block, lanes)]
    loops = sch.get_loops(stage.block)
    if len(run) > 1:
        sch.fuse(*(loops[axis] for axis in run))
    return partial_sums(sch, stage.block, lanes_of_run, MOST_PARTIAL_SUMS)


def _fuse_vectors(
    sch: Any, stages: Sequence[Stage], rows: Sequence[list[int]], hw: Hardware
) -> None:
    """A chunk is some vectors of neighbouring rows of every stage."""
    *producers, last = stages
    anchor = last.block
    if last.reductions:
        producers, anchor = stages, sch.cache_write(last.block, 0, "global")
    vector_axis = last.last
    lanes = hw.lanes(last.dtype)
    loops = dict(enumerate(sch.get_loops(anchor)))
    if last.reductions:
        loops = last.by_dimension(list(loops.values()))
    slid = windowed_axes(stages)
    slid = [] if vector_axis in slid else slid
    alone = [axis for axis in rows[-1] if axis not in (*slid, vector_axis)]
    outer = [loop for axis, loop in loops.items() if axis in alone]
    if slid:
        # Cores that take rows find them where they have written those of the operator before.
        tile = sample_tile(sch, loops[slid[0]], 2)
        some, loops[slid[0]] = sch.split(loops[slid[0]], tile)
        outer.append(some)
    rest = [loop for axis, loop in loops.items() if axis not in (*alone, vector_axis)]
    assert vector_axis is not None
    extent = last.extents[vector_axis]
    if len(stages) == 1 and not last.reductions:
        loops = join_rows(sch, anchor, loops, lanes)
        extent = int(sch.get(loops[vector_axis]).extent)
        outer = [loop for axis, loop in loops.items() if axis in alone]
    length = vector_length(extent, lanes)
    # The copy of a reduction moves by one; so does what it copies, or its own loops say otherwise.
    plain = bool(last.reductions) or moves_by_one(sch, anchor, vector_axis, length or 1)
    # Stages before it have whole vectors in every chunk, whether it has some or not.
    whole = length is not None and (plain or bool(producers))
    vectors, *lane = (
        sch.split(loops[vector_axis], [None, length]) if whole else [loops[vector_axis]]
    )
    most = hw.vector_registers // 2 if whole and plain else -1
    tile = sample_tile(sch, vectors, 2, most)
    chunks, inside = sch.split(vectors, tile)
    sch.reorder(*outer, chunks, *rest, inside, *lane)
    chunk = sch.fuse(*outer, chunks)
    sch.parallel(chunk)
    # Before the anchor may become a call: TVM moves nothing to a reader that is one.
    for stage in reversed(producers):
        sch.compute_at(stage.block, chunk, preserve_unit_loops=True)
    if lane and plain:
        vectorise(sch, anchor, lane[0])
    else:
        call_function(sch, anchor, lane[0] if lane else inside)
    for stage in producers:
        vectorise_inside(sch, stage.block, own_loops(sch, stage.block), lanes)
