"""The pieces that the register-tiling rules share: limits, loops, copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from mschedx.hardware import Hardware
from mschedx.intrinsics.x86_transpose import Transpose, find_transpose

from .blocks import count_readers, is_copy, producer_of
from .contraction import Contraction, Operand
from .elementwise import parallelise_copy, vectorise_innermost
from .typical import sample_tile


@dataclass(frozen=True, slots=True)
class TileLimits:
    """How far the sampled tiles of :class:`PackedTile` may go.

    Attributes
    ----------
    lanes : int
        Elements of the accumulator type in a vector register.
    row_unroll : int
        Largest share of one row axis in the register tile.
    vector_unroll : int
        Most vectors side by side in the register tile.
    """

    lanes: int
    row_unroll: int
    vector_unroll: int

    @staticmethod
    def of(hardware: Hardware, contraction: Contraction) -> TileLimits:
        """Derive the limits from the register file: a tile beyond it can only spill.

        With a few rows only (a matrix times a vector), the tile is wide instead of high: it reads
        long runs of the panel's rows, and has as many independent sums.

        Beside the sums of a column of rows two registers hold a vector of the panel and an element
        of the other operand; how wide a tile is beyond that is chosen by hand, not by a sweep.
        """
        rows = prod(contraction.extents[axis] for axis in contraction.rows)
        registers = hardware.vector_registers
        return TileLimits(
            lanes=hardware.lanes(contraction.dtype),
            row_unroll=registers - 2,
            vector_unroll=max(1, registers // 8, (registers - 4) // rows),
        )


def vector_length(extent: int, lanes: int) -> int | None:
    """The widest power of two up to ``lanes`` that divides ``extent``; None below half a vector."""
    length = lanes
    while length >= max(2, lanes // 2):
        if extent % length == 0:
            return length
        length //= 2
    return None


@dataclass(frozen=True, slots=True)
class RegisterTileLoops:
    """The loops that the other steps of a rule refer to.

    Attributes
    ----------
    parallel : LoopRV
        The fused outermost loop, one iteration a chunk.
    panel : LoopRV
        The loop over panels of vectors.
    rows : list of LoopRV
        Everything between the parallel loop and the reduction, the panel loop first.
    reduction : LoopRV
        The outermost reduction loop.
    innermost : list of LoopRV
        What is left for vectors or for an intrinsic: lanes, or (steps, lanes, word).
    """

    parallel: Any
    panel: Any
    rows: list[Any]
    reduction: Any
    innermost: list[Any]


def split_and_reorder(
    sch: Any,
    block: Any,
    contraction: Contraction,
    limits: TileLimits,
    *,
    dot: tuple[int, Sequence[int]] | None = None,
) -> RegisterTileLoops:
    """Sample the tiles and bring the loops into the order that :class:`PackedTile` documents.

    Parameters
    ----------
    limits : TileLimits
        ``lanes`` must divide the vector axis.
    dot : (int, sequence of int), optional
        The reduction axis that an intrinsic consumes, and the constant lengths of the loops to
        cut off its end, innermost last.
    """
    loops = sch.get_loops(block)
    vector, lanes = sch.split(loops[contraction.vector], [None, limits.lanes])
    innermost = [lanes]
    if dot is not None:
        axis, lengths = dot
        loops[axis], *steps, word = sch.split(loops[axis], [None, *lengths])
        innermost = [*steps, lanes, word]
    vectors = _sample_split(sch, vector, 3, limits.vector_unroll)
    rows = [_sample_split(sch, loops[axis], 3, limits.row_unroll) for axis in contraction.rows]
    reductions = [_sample_split(sch, loops[axis], 2, -1) for axis in contraction.reductions]
    outer = [*(loops[a] for a in contraction.batch), *(row[0] for row in rows), vectors[0]]
    middle = [vectors[1], *(row[1] for row in rows)]
    reduce = [part for level in zip(*reductions) for part in level]
    tile = [*(row[2] for row in rows), vectors[2]]
    sch.reorder(*outer, *middle, *reduce, *tile, *innermost)
    parallel = sch.fuse(*outer)
    sch.parallel(parallel)
    for loop in tile:
        sch.unroll(loop)
    return RegisterTileLoops(parallel, vectors[1], middle, reduce[0], innermost)


def _sample_split(sch: Any, loop: Any, parts: int, innermost: int) -> list[Any]:
    factors = sample_tile(sch, loop, parts, innermost)
    return sch.split(loop, factors)


def shared_reduction(contraction: Contraction) -> int | None:
    """The reduction axis that both operands read as it is, best where A holds it contiguously."""
    alone = [
        axis
        for axis in contraction.reductions
        if contraction.panel.dim_of(axis) is not None
        and contraction.broadcast.dim_of(axis) is not None
    ]

    def preference(axis: int) -> tuple[bool, int]:
        return (contraction.broadcast.plain[-1] == axis, contraction.extents[axis])

    return max(alone, key=preference, default=None)


def copy_of(sch: Any, block: Any, operand: Operand, wanted: bool) -> Any | None:
    """The block that copies an operand: one that is there already (padding), or a new cache."""
    existing = producer_of(sch, block, operand.index)
    return existing if existing is not None or not wanted else cached(sch, block, operand)


def cached(sch: Any, block: Any, operand: Operand) -> Any:
    """A new block that copies an operand."""
    # An operand that others read too (x of two projections) is copied for this block alone.
    shared = count_readers(sch, sch.get(block).reads[operand.index].source) > 1
    return sch.cache_read(block, operand.index, "global", [block] if shared else None)


def place_copy(sch: Any, copy: Any | None, loop: Any | None, lanes: int) -> None:
    """Compute a copy inside ``loop``, or in parallel at the root when there is none.

    ``lanes`` is 1 for a copy whose rows are as long as a config makes them: whether vectors divide
    them would be decided by the config that a space happens to be made with.

    A block that computes what it hands on (the quotients of a softmax) stays as it is at the root:
    it belongs to the blocks before it, and :class:`~.remainder.Remainder` looks after these.
    """
    if copy is None:
        return
    if loop is None:
        if is_copy(sch.get(copy)):
            parallelise_copy(sch, copy, lanes)
        return
    sch.compute_at(copy, loop, preserve_unit_loops=True)
    vectorise_innermost(sch, copy, lanes)


def place_transposed(
    sch: Any, copy: Any, padded: Any | None, loop: Any, transpose: Transpose
) -> None:
    """Compute a transposing copy inside ``loop``, and before it what pads its rows, if anything."""
    sch.compute_at(copy, loop, preserve_unit_loops=True)
    place_copy(sch, padded, loop, transpose.lanes)
    _transpose_panel(sch, copy, transpose)


def panel_transpose(contraction: Contraction, lanes: int) -> Transpose | None:
    """The transposing copy that packs the panel operand; None where the plain copy has to do.

    It fits float32 operands whose rows along the vector axis are contiguous, ``[..., vector,
    reduction, window...]``, with windows that are read whole.
    """
    operand = contraction.panel
    dim = operand.dim_of(contraction.vector)
    if dim is None or operand.dtype != "float32":
        return None
    whole = contraction.reductions
    extents = [
        1 if axis is None and size == 1 else contraction.extents[axis] if axis in whole else 0
        for axis, size in zip(operand.plain[dim + 1 :], operand.shape[dim + 1 :])
    ]
    if not extents or 0 in extents or tuple(extents[1:]) != operand.shape[dim + 2 :]:
        return None
    return find_transpose(lanes, extents[0], tuple(extents[1:]))


def _transpose_panel(sch: Any, copy: Any, transpose: Transpose) -> None:
    """Copy blocks of ``lanes`` rows by ``run`` columns through shuffles.

    Rewrite
    -------
    ``for j, k, r: P[k, r, j] = B[j, k, r]``  →
    ``for j0, k0: transpose(P[16·k0 : +16, :, 16·j0 : +16], B[16·j0 : +16, 16·k0 : +16, :])``
    """
    rank = 2 + len(transpose.window)
    rows, run, *window = sch.get_loops(copy)[-rank:]
    outer_rows, lanes = sch.split(rows, [None, transpose.lanes])
    outer_run, inner_run = sch.split(run, [None, transpose.run])
    unit = [loop for loop, extent in zip(window, transpose.window) if extent == 1]
    wide = [loop for loop, extent in zip(window, transpose.window) if extent > 1]
    sch.reorder(*unit, outer_rows, outer_run, inner_run, *wide, lanes)
    sch.tensorize(inner_run, transpose.name)


def permute_last(sch: Any, block: Any, buffer: tuple[str, int], rank: int, dim: int | None) -> None:
    """Make ``dim`` the last dimension of a buffer that the rule owns; None leaves it as it is."""
    if dim is None or dim == rank - 1:
        return
    order = [d for d in range(rank) if d != dim] + [dim]
    sch.transform_layout(block, buffer, lambda *index: [index[d] for d in order])
