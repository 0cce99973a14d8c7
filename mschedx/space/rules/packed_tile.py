"""A contraction as packed panels and a register tile: the CPU rule for floats."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule

from mschedx.hardware import Hardware

from ..contraction import Contraction, Operand, match_contraction
from .elementwise import parallelise_copy, vectorise_innermost


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
    def of(hardware: Hardware, dtype: str) -> TileLimits:
        """Derive the limits from the register file: a tile beyond it can only spill."""
        return TileLimits(
            lanes=hardware.lanes(dtype),
            row_unroll=hardware.vector_registers - 2,
            vector_unroll=max(1, hardware.vector_registers // 8),
        )


def vector_length(extent: int, lanes: int) -> int | None:
    """The widest power of two up to ``lanes`` that divides ``extent``; None below half a vector."""
    length = lanes
    while length >= max(2, lanes // 2):
        if extent % length == 0:
            return length
        length //= 2
    return None


def padding_factors(contraction: Contraction, limits: TileLimits) -> list[int] | None:
    """Multiples to pad each axis to; None when the shape tiles well or cannot be padded.

    The vector axis is padded to whole vectors where that costs at most an eighth more work, or
    where no shorter vector divides it. A row axis is padded to a multiple of eight (of
    four below 64) when no divisor between 4 and ``row_unroll`` lets it share the loads of a panel.
    """
    einsum = all(
        axis is not None or not dim
        for operand in (contraction.panel, contraction.broadcast)
        for axis, dim in zip(operand.plain, operand.dims)
    )
    if not einsum:
        return None
    factors = [1] * len(contraction.extents)
    extent = contraction.extents[contraction.vector]
    whole = -(-extent // limits.lanes) * limits.lanes
    cheap = whole - extent <= extent // 8 or vector_length(extent, limits.lanes) is None
    if limits.lanes < extent < whole and cheap:
        factors[contraction.vector] = limits.lanes
    for axis in contraction.rows:
        extent = contraction.extents[axis]
        tiles = any(extent % tile == 0 for tile in range(4, limits.row_unroll + 1))
        if extent > limits.row_unroll and not tiles:
            factors[axis] = 8 if extent >= 64 else 4
    return factors if max(factors) > 1 else None


def _pad(sch: Any, block: Any, factors: list[int]) -> Schedule:
    sch.pad_einsum(block, factors)
    for crop in sch.get_consumers(block):
        # The crop of the padded result folds into the epilogue that reads it, if there is one.
        if len(sch.get_consumers(crop)) == 1:
            sch.compute_inline(crop)
    return sch


def packed_tiles(sch: Any, block: Any, hardware: Hardware) -> list[Schedule]:
    """Return the design spaces of :class:`PackedTile` for one block; empty when it has none."""
    contraction = match_contraction(sch.get(block))
    if contraction is None:
        return []
    limits = TileLimits.of(hardware, contraction.dtype)
    padding = padding_factors(contraction, limits)
    if padding is not None:
        sch = _pad(sch.copy(), block, padding)
        contraction = match_contraction(sch.get(block))
        assert contraction is not None, "padding keeps a contraction a contraction"
    length = vector_length(contraction.extents[contraction.vector], limits.lanes)
    if length is None:
        return []
    spaces = []
    for pack_panel, stage_broadcast in product((False, True), repeat=2):
        tiled = _tile(sch.copy(), block, contraction, limits, length, pack_panel, stage_broadcast)
        if tiled is not None:
            spaces.append(tiled)
    return spaces


def _tile(
    sch: Schedule,
    block: Any,
    contraction: Contraction,
    limits: TileLimits,
    length: int,
    pack_panel: bool,
    stage_broadcast: bool,
) -> Schedule | None:
    panel = _copy_of(sch, block, contraction.panel, pack_panel)
    staged = _copy_of(sch, block, contraction.broadcast, stage_broadcast)
    if panel is not None:
        _put_last(sch, block, "read", contraction.panel, contraction.vector)
    write_back = _write_back(sch, block, contraction)

    loops = _split_and_reorder(sch, block, contraction, limits, length)
    # Unit loops are kept: a structure that depended on a factor being 1 would be two sketches.
    sch.reverse_compute_at(write_back, loops.rows[-1], preserve_unit_loops=True)
    _place_copy(sch, panel, loops.panel if pack_panel else None, length)
    _place_copy(sch, staged, loops.parallel if stage_broadcast else None, limits.lanes)
    _finish_write_back(sch, write_back, contraction, length)
    sch.decompose_reduction(block, loops.reduction)
    return sch


@dataclass(frozen=True, slots=True)
class _Loops:
    parallel: Any
    panel: Any
    rows: list[Any]
    reduction: Any


def _split_and_reorder(
    sch: Any, block: Any, contraction: Contraction, limits: TileLimits, length: int
) -> _Loops:
    loops = sch.get_loops(block)
    vector, lanes = sch.split(loops[contraction.vector], [None, length])
    vectors = _sample_split(sch, vector, 3, limits.vector_unroll)
    rows = [_sample_split(sch, loops[axis], 3, limits.row_unroll) for axis in contraction.rows]
    reductions = [_sample_split(sch, loops[axis], 2, 0) for axis in contraction.reductions]
    outer = [*(loops[a] for a in contraction.batch), *(row[0] for row in rows), vectors[0]]
    middle = [vectors[1], *(row[1] for row in rows)]
    reduce = [part for level in zip(*reductions) for part in level]
    tile = [*(row[2] for row in rows), vectors[2]]
    sch.reorder(*outer, *middle, *reduce, *tile, lanes)
    parallel = sch.fuse(*outer)
    sch.parallel(parallel)
    for loop in tile:
        sch.unroll(loop)
    sch.vectorize(lanes)
    return _Loops(parallel, vectors[1], middle, reduce[0])


def _sample_split(sch: Any, loop: Any, parts: int, innermost: int) -> list[Any]:
    factors = sch.sample_perfect_tile(loop, parts, max_innermost_factor=innermost or -1)
    return sch.split(loop, factors)


def _copy_of(sch: Any, block: Any, operand: Operand, wanted: bool) -> Any | None:
    """The block that copies an operand: one that is there already (padding), or a new cache."""
    existing = _producer(sch, block, operand)
    if existing is not None or not wanted:
        return existing
    return sch.cache_read(block, operand.index, "global")


def _place_copy(sch: Any, copy: Any | None, loop: Any | None, lanes: int) -> None:
    """Compute a copy inside ``loop``, or in parallel at the root when there is none."""
    if copy is None:
        return
    if loop is None:
        parallelise_copy(sch, copy, lanes)
    else:
        sch.compute_at(copy, loop, preserve_unit_loops=True)
        vectorise_innermost(sch, copy, lanes)


def _producer(sch: Any, block: Any, operand: Operand) -> Any | None:
    """The block that writes the operand inside this function, if it is a mere copy (padding)."""
    source = sch.get(block).reads[operand.index].source
    for candidate in sch.get_producers(block):
        body: Any = sch.get(candidate)
        if body.writes[0].source.same_as(source) and body.init is None:
            return candidate
    return None


def _put_last(sch: Any, block: Any, kind: str, operand: Operand, axis: int) -> None:
    """Permute a cached buffer so that the vector axis is its last dimension."""
    dim = operand.dim_of(axis)
    _permute_last(sch, block, (kind, operand.index), len(operand.dims), dim)


def _permute_last(sch: Any, block: Any, buffer: Any, rank: int, dim: int | None) -> None:
    if dim is None or dim == rank - 1:
        return
    order = [d for d in range(rank) if d != dim] + [dim]
    sch.transform_layout(block, buffer, lambda *index: [index[d] for d in order])


def _write_back(sch: Any, block: Any, contraction: Contraction) -> Any:
    """Give the result tile a reader of its own: the fused epilogue, or a copy."""
    consumers = sch.get_consumers(block)
    fits = len(consumers) == 1 and _is_elementwise(sch, consumers[0], contraction)
    reader = consumers[0] if fits else sch.cache_write(block, 0, "global")
    rank = len(contraction.output_plain)
    dim = contraction.output_plain.index(contraction.vector)
    _permute_last(sch, block, ("write", 0), rank, dim)
    return reader


def _is_elementwise(sch: Any, consumer: Any, contraction: Contraction) -> bool:
    """Whether the consumer visits the output point by point, in the output's own order."""
    body: Any = sch.get(consumer)
    extents = [int(iv.dom.extent) for iv in body.iter_vars]
    output = [contraction.extents[axis] for axis in contraction.output_plain]
    # A crop of a padded result is shorter than what it reads.
    inside = len(extents) == len(output) and all(e <= o for e, o in zip(extents, output))
    return body.init is None and inside and not sch.get_consumers(consumer)


def _finish_write_back(
    sch: Schedule, write_back: Any, contraction: Contraction, length: int
) -> None:
    if contraction.output_plain[-1] != contraction.vector:
        return
    vectorise_innermost(sch, write_back, length)
    # Constant indices let the whole tile live in registers from the first zero to the last store.
    for loop in sch.get_loops(write_back)[-len(contraction.output_plain) - 1 : -1]:
        sch.unroll(loop)


@derived_object
class PackedTile(PyScheduleRule):
    """Tile a contraction for registers, with packed panels as alternatives.

    The rule gives one design space for each staging: panel operand read in place or packed per
    panel, broadcast operand read in place or staged per parallel task. Tile factors are sampled.

    Rewrite
    -------
    Before, for a matrix product (``C[i, j] += A[i, k] * B[k, j]``)::

        for i, j, k: C[i, j] += A[i, k] * B[k, j]

    after, with ``j = 16·jo + jv`` on a 16-lane machine and sampled ``i = (i0, i1, i2)``,
    ``jo = (j0, j1, j2)``, ``k = (k0, k1)``::

        parallel for i0·j0:
            A' = A[i0 tile, :]                                   # only if staged
            for j1:
                B' = B[:, j1 panel]                              # only if packed, [K, j2·16]
                for i1:
                    T[i2, j2·16] = 0
                    for k0, k1:
                        unroll i2, j2, vectorise jv: T[i2, j2·16+jv] += A[i, k] * B[k, j]
                    C[i2 tile, j2·16 tile] = T                   # or the fused epilogue

    Parameters
    ----------
    hardware : Hardware
        Lanes and registers bound the tile.

    References
    ----------
    Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008), for the
    panels; Heron (ASPLOS'23) §4, rules S2 and S3, for staging as part of the space.
    """

    def __init__(self, hardware: Hardware) -> None:
        super().__init__()
        self.hardware = hardware

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        try:
            return packed_tiles(sch, block, self.hardware) or [sch]
        except ScheduleError:
            # A producer or consumer that cannot be moved: the block keeps its other rules.
            return [sch]

    def clone(self) -> Any:
        return PackedTile(self.hardware)
