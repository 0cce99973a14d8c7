"""A contraction as packed panels and a register tile: the CPU rule for floats."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from itertools import product
from math import prod
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule

from mschedx.hardware import Hardware
from mschedx.intrinsics.x86_transpose import Transpose

from . import padding
from . import register_tile as tile
from .blocks import is_copy, producer_of
from .contraction import Contraction, find_contraction, match_contraction
from .epilogue import with_one_block
from .free_layouts import is_free, pack_ahead, panels_of_vectors
from .groups import copies_input, split_groups
from .im2col import patch_matrix
from .write_back import add_write_back, attach_write_back


def packed_tiles(
    sch: Any, block: Any, hardware: Hardware, *, im2col: bool = True
) -> list[Schedule]:
    """Return the design spaces of :class:`PackedTile` for one block; empty when it has none."""
    sch = split_groups(sch, block) or sch
    contraction = find_contraction(sch, block, hardware.vector_bytes)
    if contraction is None or not _reuses_panel(contraction):
        return []
    limits = tile.TileLimits.of(hardware, contraction)
    factors = padding.padding_factors(contraction, limits)
    if factors is not None:
        sch = padding.pad(sch.copy(), block, factors)
        contraction = contraction.padded(factors)
    length = tile.vector_length(contraction.extents[contraction.vector], limits.lanes)
    if length is None:
        return []
    limits = replace(limits, lanes=length)
    designs = product(
        _packings(sch, block, contraction, limits), _whether_to_cache(sch, block, contraction)
    )
    spaces = [
        _tile(sch.copy(), block, contraction, limits, packing, cache_broadcast)
        for packing, cache_broadcast in designs
    ]
    gathered = _tile_patches(sch.copy(), block, contraction, hardware) if im2col else None
    return spaces if gathered is None else [*spaces, gathered]


def _reuses_panel(contraction: Contraction) -> bool:
    """Whether rows of the broadcast operand share a panel; a stream has none.

    Rows that the panel operand alone reads share nothing of it: the pixels of a depthwise
    convolution, whose vectors would run along the images of a batch.
    """
    own = (axis for axis in contraction.rows if axis in contraction.broadcast.axes)
    return prod(contraction.extents[axis] for axis in own) > 1


class Packing(Enum):
    """Where the panel operand is read from."""

    IN_PLACE = "in place"
    BY_PANEL = "packed panel by panel"
    AHEAD = "packed ahead of all calls"


def _packings(
    sch: Any, block: Any, contraction: Contraction, limits: tile.TileLimits
) -> tuple[Packing, ...]:
    """How to read the panel operand; never in place where every vector would be gathered."""
    if is_free(sch, block, contraction.panel):
        return (Packing.AHEAD,)
    gathers = _panel_transpose(sch, block, contraction, limits) is not None
    return (Packing.BY_PANEL,) if gathers else (Packing.IN_PLACE, Packing.BY_PANEL)


def _panel_transpose(
    sch: Any, block: Any, contraction: Contraction, limits: tile.TileLimits
) -> Transpose | None:
    """How panels are transposed in registers, unless what makes the operand computes something."""
    producer = producer_of(sch, block, contraction.panel.index)
    if producer is not None and not is_copy(sch.get(producer)):
        return None
    return tile.panel_transpose(contraction, limits.lanes)


def _whether_to_cache(sch: Any, block: Any, contraction: Contraction) -> tuple[bool, ...]:
    """Whether to cache the broadcast operand in each chunk.

    That compacts rows that a chunk reads along the reduction. Images whose channels lie apart
    (``[N, C, H, W]``) are read in place, unless they are padded: there the copy exists anyway.
    What is computed just before (the quotients of a softmax) stays with what computes it.
    """
    broadcast = contraction.broadcast
    producer = producer_of(sch, block, broadcast.index)
    if producer is not None and not is_copy(sch.get(producer)):
        return (False,)
    copied = producer is not None
    along = broadcast.plain[-1] in contraction.reductions
    return (False, True) if copied or along else (False,)


def _tile(
    sch: Any,
    block: Any,
    contraction: Contraction,
    limits: tile.TileLimits,
    packing: Packing,
    cache_broadcast: bool,
) -> Schedule:
    operand = contraction.panel
    transpose = _panel_transpose(sch, block, contraction, limits)
    if transpose is None or packing is Packing.AHEAD:
        padded, panel = None, tile.copy_of(sch, block, operand, packing is not Packing.IN_PLACE)
    else:
        # Rows are padded as they lie: each shuffle reads whole ones.
        padded = producer_of(sch, block, operand.index)
        panel = tile.cached(sch, block, operand)
    cached = tile.copy_of(sch, block, contraction.broadcast, cache_broadcast)
    dim = operand.dim_of(contraction.vector)
    if packing is Packing.AHEAD and dim is not None:
        panels_of_vectors(sch, block, operand, dim, limits.lanes)
    elif panel is not None:
        tile.permute_last(sch, block, ("read", operand.index), len(operand.dims), dim)
    write_back = add_write_back(sch, block, contraction)
    loops = tile.split_and_reorder(sch, block, contraction, limits)
    sch.vectorize(loops.innermost[-1])
    attach_write_back(sch, write_back, contraction, limits, loops)
    if packing is Packing.AHEAD:
        pack_ahead(sch, panel)
    elif transpose is not None:
        tile.place_transposed(sch, panel, padded, loops.panel, transpose)
    else:
        where = loops.panel if packing is Packing.BY_PANEL else None
        tile.place_copy(sch, panel, where, limits.lanes)
    whole = contraction.broadcast.dims[-1] <= set(contraction.reductions)
    lanes = limits.lanes if whole or not cache_broadcast else 1
    tile.place_copy(sch, cached, loops.parallel if cache_broadcast else None, lanes)
    sch.decompose_reduction(block, loops.reduction)
    return sch


def _tile_patches(
    sch: Any, block: Any, contraction: Contraction, hardware: Hardware
) -> Schedule | None:
    """Multiply with the patch matrix of a convolution, gathered by panels."""
    lanes = hardware.lanes(contraction.dtype)
    patches = patch_matrix(sch, block, contraction, lanes, hardware.vector_bytes)
    if patches is None:
        return None
    contraction = patches.contraction
    limits = replace(tile.TileLimits.of(hardware, contraction), lanes=lanes)
    loops = tile.split_and_reorder(sch, block, contraction, limits)
    sch.vectorize(loops.innermost[-1])
    if patches.padded:
        # A branch for every pixel, and unrolled, would take LLVM minutes.
        sch.reverse_compute_at(patches.reader, loops.rows[-1], preserve_unit_loops=True)
    else:
        attach_write_back(sch, [patches.reader], contraction, limits, loops)
    tile.place_copy(sch, patches.copy, loops.panel, patches.run)
    sch.decompose_reduction(block, loops.reduction)
    return sch


def _for_other_rules(sch: Schedule, block: Any) -> Schedule:
    """The schedule for the rules that follow: none of them tiles an epilogue of several blocks."""
    return with_one_block(sch, block) if match_contraction(sch.get(block)) else sch


@derived_object
class PackedTile(PyScheduleRule):
    """Tile a contraction for registers, with packed panels as alternatives.

    Groups of a convolution become an axis of their own first (:func:`split_groups`); where nothing
    pads what they read, that copies it, and the rules that follow make their design as well.

    The rule gives one design space for each way to read: panel operand read in place or packed per
    panel, broadcast operand read in place or cached per chunk. Tile factors are sampled.
    Panels of operands that lie the other way round (``B[j, k]``, weights ``[O, I, H, W]``) are
    always packed, by transposing copies in registers, from rows that are padded first where lanes
    do not divide them. Weights whose layout is free are packed
    ahead, ``B'[J/16, K, 16]``, and by nothing else (:mod:`.free_layouts`).

    Rewrite
    -------
    Before, for a matrix product (``C[i, j] += A[i, k] * B[k, j]``)::

        for i, j, k: C[i, j] += A[i, k] * B[k, j]

    after, with ``j = 16·jo + jv`` on a 16-lane machine and sampled ``i = (i0, i1, i2)``,
    ``jo = (j0, j1, j2)``, ``k = (k0, k1)``::

        parallel for i0·j0:
            A' = A[i0 tile, :]                                   # only if cached
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
    im2col : bool
        Also offer convolutions whose output ends in pixels (``[N, O, H, W]``) as products with
        their patch matrix (:func:`patch_matrix`), in panels of patches gathered in each chunk: one
        more design space, with vectors along pixels.

    References
    ----------
    Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008), for the
    panels; Heron (ASPLOS'23) §4, rules S2 and S3, for staging as part of the space.
    """

    def __init__(self, hardware: Hardware, *, im2col: bool = True) -> None:
        super().__init__()
        self.hardware = hardware
        self.im2col = im2col

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        try:
            found = packed_tiles(sch, block, self.hardware, im2col=self.im2col)
        except ScheduleError:
            # A producer or consumer that cannot be moved: the block keeps its other rules.
            found = []
        if found and copies_input(sch, block):
            # Short sums may be done before the copies are.
            return [*found, sch]
        return found or [_for_other_rules(sch, block)]

    def clone(self) -> Any:
        return PackedTile(self.hardware, im2col=self.im2col)
