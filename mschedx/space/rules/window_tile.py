"""Sums over a short window (depthwise convolution, pooling) in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tvm.ir import TensorLoad

from mschedx.hardware import Hardware

from .blocks import choice_of, moves_by_one, own_loops
from .elementwise import vectorise
from .inner_loops import vectorise_inside
from .register_tile import vector_length
from .stages import Stage, common_rows, windowed_axes
from .typical import divisor_between, sample_tile

LONGEST_WINDOW = 64
"""Points of a window that is unrolled: those of 7 × 7, and some more."""

_MOST_ROWS = 8
"""Of a tile of rows whose columns are vectors, or a loop that LLVM makes vectors of."""

_MOST_POINTS = (2, 4)
"""Rows and columns of a tile whose vectors are channels: padding branches at each of its points."""


def is_window(stages: Sequence[Stage]) -> bool:
    """Whether the one reduction of some stages runs over a short window that slides along an axis.

    Stages before it pad or prepare, those behind it have one point for each of its sums. A single
    row has nothing to share between cores but its columns, and is none.
    """
    reducing = [stage for stage in stages if stage.reductions]
    if len(reducing) != 1 or not windowed_axes(stages):
        return False
    (window,) = reducing
    last, rows = stages[-1], common_rows(stages[stages.index(window) :])
    points = {axis for axis in last.spatial if last.extents[axis] > 1}
    short = window.length(window.reductions) <= LONGEST_WINDOW
    return short and rows is not None and points <= set(rows[-1]) and bool(points - {last.last})


@dataclass(frozen=True, slots=True)
class Columns:
    """How the contiguous axis of a window runs.

    Attributes
    ----------
    lanes : int, optional
        Length of its vectors whatever operands do; what suits the register where None.
    inline : bool
        Whether padding is read where it is needed, although it differs from lane to lane.
    """

    lanes: int | None = None
    inline: bool = False


def offers(sch: Any, stages: Sequence[Stage], hw: Hardware) -> list[Columns]:
    """What is worth trying where a window slides along the contiguous axis.

    Besides plain loops around the window, or vectors of a whole register: a vector of another
    length, between half of a register and two, where no whole one divides the axis; and no copy
    that pads, where the window strides, so that it reads an element about twice.
    """
    found = [Columns()]
    last = stages[-1]
    column = last.last
    if column is None or column not in windowed_axes(stages):
        return found
    extent, lanes = last.extents[column], hw.lanes(last.dtype)
    if vector_length(extent, lanes) is None:
        length = divisor_between(extent, lanes // 2 + 1, 2 * lanes)
        found += [] if length is None else [Columns(lanes=length)]
    place = _place(stages)
    window, own = stages[place], _column(stages[place:])
    strides = own is not None and not moves_by_one(sch, window.block, own)
    if strides and any(_pads(sch, stage) for stage in stages[:place]):
        found.append(Columns(inline=True))
    return found


def tile_window(
    sch: Any, stages: Sequence[Stage], hw: Hardware, columns: Columns = Columns()
) -> None:
    """Sum over a window for a few rows, columns and a vector at a time, chunks in parallel.

    Rewrite
    -------
    ::

        for c, i, j: p[c, i, j] = x[c, i - 1, j]           parallel c, i0: for i1:
        for c, i, j, r: y[c, i, j] += p[c, i + r, j]   →     p of as many rows as the tile needs
        for c, i, j: z[c, i, j] = relu(y[c, i, j])           for j0: s[..] = 0
                                                               unroll r, i2: vector j1: s += p
                                                               unroll i2: vector j1: z = relu(s)

    Where the window slides along the contiguous axis and an operand strides along it, or no vector
    divides it, its loop stays plain around the unrolled window: LLVM makes vectors of it, with
    shuffles, and of what is left over. Where the contiguous axis is another (channels last),
    padding is the same for all lanes of a vector, and read where it is needed.

    Parameters
    ----------
    sch : Schedule
        Changed in place.
    stages : sequence of Stage
        In order, of which `is_window` is true.
    hw : Hardware
    columns : Columns
        One of `offers`.
    """
    place = _place(stages)
    window, last = stages[place], stages[-1]
    column, slid = last.last, windowed_axes(stages)
    before = list(stages[:place])
    if columns.inline or column not in slid:
        for stage in (pads := [stage for stage in before if _pads(sch, stage)]):
            sch.compute_inline(stage.block)
        before = [stage for stage in before if stage not in pads]
    anchor, loops = _anchor(sch, last)
    length = columns.lanes or _lanes(sch, stages[place:], anchor, hw)
    parts = _split(sch, loops, slid, column, length)
    chunk = parts.order(sch)
    sch.parallel(chunk)
    for loop in parts.tile:
        sch.unroll(loop)
    inside = stages[place:] if last.reductions else stages[place:-1]
    for stage in reversed(inside):
        sch.compute_at(stage.block, parts.middle[-1], preserve_unit_loops=True)
    for stage in reversed(before):
        sch.compute_at(stage.block, parts.rows or chunk, preserve_unit_loops=True)
    for lane in parts.lane:
        vectorise(sch, anchor, lane)
    for stage in before:
        vectorise_inside(sch, stage.block, own_loops(sch, stage.block), hw.lanes(stage.dtype))
    own = _column(stages[place:])
    for stage in inside:
        _unroll(sch, stage, own if stage is window else stage.last, bool(parts.lane))


@dataclass(slots=True)
class _Parts:
    """The anchor's loops: around chunks, inside them, of a tile, and of a vector."""

    chunks: list[Any] = field(default_factory=list)
    middle: list[Any] = field(default_factory=list)
    tile: list[Any] = field(default_factory=list)
    lane: list[Any] = field(default_factory=list)
    rows: Any = None
    """The loop over tiles of rows; None where a window slides along the contiguous axis alone."""

    def order(self, sch: Any) -> Any:
        """Bring the loops into this order; return the loop over chunks."""
        sch.reorder(*self.chunks, *self.middle, *self.tile, *self.lane)
        return sch.fuse(*self.chunks)


def _split(
    sch: Any, loops: dict[int, Any], slid: Sequence[int], column: Any, length: int | None
) -> _Parts:
    """Cut the anchor's loops, given by axis."""
    parts = _Parts()
    if length is not None:
        loops[column], lane = sch.split(loops[column], [None, length])
        parts.lane = [lane]
    parts.chunks = [loop for axis, loop in loops.items() if axis not in (*slid, column)]
    across = [axis for axis in slid if axis != column]
    for axis in across:
        # Cores that take rows find them where they have written those of the operator before.
        chunks = 1 if axis == across[0] else 0
        tiled = 1 if axis in across[-2:] else 0
        most = _MOST_ROWS if column in slid else _MOST_POINTS[len(parts.tile)]
        cut = [loops[axis]]
        if chunks + tiled:
            factors = sample_tile(sch, cut[0], 1 + chunks + tiled, most if tiled else -1)
            cut = sch.split(cut[0], factors)
        parts.chunks += cut[:chunks]
        parts.middle.append(cut[chunks])
        parts.tile += cut[chunks + 1 :]
        if tiled:
            parts.rows = parts.rows or cut[chunks]
    if column in slid:
        parts.middle.append(loops[column])
    else:
        chunk, some = sch.split(loops[column], sample_tile(sch, loops[column], 2))
        parts.chunks.append(chunk)
        # Outside of the rows, so that those of one vector stay in the first cache.
        parts.middle.insert(0, some)
    return parts


def _lanes(sch: Any, stages: Sequence[Stage], anchor: Any, hw: Hardware) -> int | None:
    """Lanes of a vector of the last stage's contiguous axis; None where it stays a plain loop."""
    window, last = stages[0], stages[-1]
    own, column = _column(stages), last.last
    if own is None or column is None or not moves_by_one(sch, window.block, own):
        return None
    if not last.reductions and not moves_by_one(sch, anchor, column):
        return None
    return vector_length(last.extents[column], hw.lanes(last.dtype))


def _column(stages: Sequence[Stage]) -> int | None:
    """The first stage's axis that is the contiguous one of the last."""
    rows, column = common_rows(stages), stages[-1].last
    return None if rows is None or column is None else dict(zip(rows[-1], rows[0])).get(column)


def _place(stages: Sequence[Stage]) -> int:
    """Which stage sums over the window."""
    return next(place for place, stage in enumerate(stages) if stage.reductions)


def _pads(sch: Any, stage: Stage) -> bool:
    """Whether a stage copies with a margin, and does nothing else."""
    choice = choice_of(getattr(sch.get(stage.block).body, "value", None))
    return choice is not None and isinstance(choice[1], TensorLoad)


def _anchor(sch: Any, last: Stage) -> tuple[Any, dict[int, Any]]:
    """The block whose loops all others follow, and its loops by axis of the last stage."""
    if not last.reductions:
        return last.block, dict(enumerate(sch.get_loops(last.block)))
    copy = sch.cache_write(last.block, 0, "global")
    return copy, last.by_dimension(sch.get_loops(copy))


def _unroll(sch: Any, stage: Stage, column: int | None, in_lanes: bool) -> None:
    """Straight code of a stage inside a tile, its window outermost."""
    loops = own_loops(sch, stage.block)
    sums = [loops[axis] for axis in stage.reductions]
    lane = [loops[column]] if in_lanes and column is not None else []
    rest = [loop for axis, loop in loops.items() if loop not in (*sums, *lane)]
    sch.reorder(*sums, *rest, *lane)
    for loop in (*sums, *rest):
        sch.unroll(loop)
    for loop in lane:
        if sums:
            sch.vectorize(loop)
        else:
            vectorise(sch, stage.block, loop)
    if sums:
        sch.decompose_reduction(stage.block, sums[0])
