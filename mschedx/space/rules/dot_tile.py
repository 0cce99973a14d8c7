"""An int8 or bf16 contraction around a dot-product instruction: the CPU rule for narrow types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule
from tvm.target import Target

from mschedx.hardware import Hardware
from mschedx.intrinsics.x86 import X86Intrinsic, intrinsics_for

from . import padding
from . import register_tile as tile
from .contraction import Contraction, find_contraction
from .free_layouts import is_free, mark_ahead
from .write_back import add_write_back, attach_write_back


@dataclass(frozen=True, slots=True)
class DotTiling:
    """A contraction with the instruction that it is tiled around.

    Attributes
    ----------
    contraction : Contraction
        Padded to what the instruction divides.
    axis : int
        The reduction that the instruction performs steps of.
    intrinsic : X86Intrinsic
    limits : TileLimits
        With the instruction's lanes.
    """

    contraction: Contraction
    axis: int
    intrinsic: X86Intrinsic
    limits: tile.TileLimits


def dot_tiles(sch: Any, block: Any, target: Target) -> list[Schedule]:
    """Return the design spaces of :class:`DotTile` for one block; empty when it has none."""
    hardware = Hardware.from_target(target)
    contraction = _contraction(sch, block, target, hardware.vector_bytes)
    axis = None if contraction is None else tile.shared_reduction(contraction)
    if contraction is None or axis is None:
        return []
    limits = tile.TileLimits.of(hardware, contraction)
    chosen = _choose(contraction, axis, _candidates(contraction, target), limits)
    if chosen is None:
        return []
    intrinsic, factors = chosen
    if max(factors) > 1:
        sch = padding.pad(sch.copy(), block, factors)
        contraction = contraction.padded(factors)
    tiling = DotTiling(contraction, axis, intrinsic, replace(limits, lanes=intrinsic.lanes))
    places = (False,) if is_free(sch, block, contraction.panel) else (False, True)
    return [
        _tile(sch.copy(), block, tiling, pack_at_panel, cache)
        for pack_at_panel, cache in product(places, (False, True))
    ]


def _contraction(sch: Any, block: Any, target: Target, vector_bytes: int) -> Contraction | None:
    """The roles of the block's axes; exchanged where no instruction takes its types as they are.

    u8 × s8 takes vectors of s8. Both operands may have an axis for vectors, and that of the other
    may be the longer.
    """
    found = find_contraction(sch, block, vector_bytes)
    if found is None or _candidates(found, target):
        return found
    return find_contraction(sch, block, vector_bytes, panel=found.broadcast.index)


def _candidates(contraction: Contraction, target: Target) -> tuple[X86Intrinsic, ...]:
    return intrinsics_for(
        target,
        a_dtype=contraction.broadcast.dtype,
        b_dtype=contraction.panel.dtype,
        c_dtype=contraction.dtype,
    )


def _choose(
    contraction: Contraction,
    axis: int,
    candidates: Sequence[X86Intrinsic],
    limits: tile.TileLimits,
) -> tuple[X86Intrinsic, list[int]] | None:
    """The preferred intrinsic that fits, and the multiples to pad to for it; None where none does.

    Padding to whole vectors is faster than vectors of half the length (docs/findings.md), unless
    there is no more than such a one. Of those with its lanes (s8 × s8 over more or fewer words),
    the first that costs little more work (`padding.PART_ADDED`) than the least padded.
    """
    extent = contraction.extents[contraction.vector]

    def emptiness(intrinsic: X86Intrinsic) -> int:
        return intrinsic.lanes if intrinsic.lanes >= 2 * extent else 0

    fits = []
    for intrinsic in sorted(candidates, key=emptiness):
        factors = _padding(contraction, axis, intrinsic, replace(limits, lanes=intrinsic.lanes))
        if factors is not None and (not fits or intrinsic.lanes == fits[0][0].lanes):
            fits.append((intrinsic, factors))
    works = [prod(contraction.padded(factors).extents) for _, factors in fits]
    part = padding.PART_ADDED
    cheap = (one for one, work in zip(fits, works) if part * work <= (part + 1) * min(works))
    return next(cheap, None)


def _padding(
    contraction: Contraction, axis: int, intrinsic: X86Intrinsic, limits: tile.TileLimits
) -> list[int] | None:
    """Multiples to pad each axis to for the intrinsic to divide it; None where that cannot be."""
    needs = {contraction.vector: intrinsic.lanes, axis: intrinsic.k}
    fits = all(contraction.extents[a] % multiple == 0 for a, multiple in needs.items())
    factors = padding.padding_factors(contraction, limits)
    if factors is None and fits:
        return [1] * len(contraction.extents)
    if not padding.can_pad(contraction):
        return None
    factors = factors or [1] * len(contraction.extents)
    for a, multiple in needs.items():
        factors[a] = multiple
    return factors


def _tile(
    sch: Any, block: Any, tiling: DotTiling, pack_at_panel: bool, cache_broadcast: bool
) -> Schedule:
    contraction, axis = tiling.contraction, tiling.axis
    intrinsic, limits = tiling.intrinsic, tiling.limits
    broadcast = contraction.broadcast
    contiguous = broadcast.plain[-1] == axis
    free = is_free(sch, block, contraction.panel)
    panel = tile.copy_of(sch, block, contraction.panel, True)
    cached = tile.copy_of(sch, block, broadcast, cache_broadcast or not contiguous)
    if cached is not None and not contiguous:
        dim = broadcast.dim_of(axis)
        tile.permute_last(sch, block, ("read", broadcast.index), len(broadcast.dims), dim)
    _interleave(sch, block, tiling)
    write_back = add_write_back(sch, block, contraction)
    lengths = [intrinsic.steps, intrinsic.word] if intrinsic.steps > 1 else [intrinsic.word]
    loops = tile.split_and_reorder(sch, block, contraction, limits, dot=(axis, lengths))
    attach_write_back(sch, write_back, contraction, limits, loops)
    if pack_at_panel:
        sch.compute_at(panel, loops.panel, preserve_unit_loops=True)
    _order_packing(sch, panel, tiling, pack_at_panel)
    if free:
        mark_ahead(sch, panel)
    tile.place_copy(sch, cached, loops.parallel if cache_broadcast else None, limits.lanes)
    start = sch.decompose_reduction(block, loops.reduction)
    sch.vectorize(sch.get_loops(start)[-1])
    sch.tensorize(loops.innermost[0], intrinsic.name)
    return sch


def _interleave(sch: Any, block: Any, tiling: DotTiling) -> None:
    """Lay the packed panel out as [batch, N/lanes, ..., K/word, lanes, word]."""
    contraction, operand = tiling.contraction, tiling.contraction.panel
    vector: Any = operand.dim_of(contraction.vector)
    reduction: Any = operand.dim_of(tiling.axis)
    batch = [d for d, a in enumerate(operand.plain) if a in contraction.batch]
    others = [d for d in range(len(operand.dims)) if d not in (vector, reduction, *batch)]
    lanes, word = tiling.intrinsic.lanes, tiling.intrinsic.word

    def layout(*index: Any) -> list[Any]:
        v, r = index[vector], index[reduction]
        outer = [*(index[d] for d in batch), v // lanes, *(index[d] for d in others)]
        return [*outer, r // word, v % lanes, r % word]

    sch.transform_layout(block, ("read", operand.index), layout)


def _order_packing(sch: Any, copy: Any, tiling: DotTiling, inside: bool) -> None:
    """Order the packing loops so that LLVM turns them into interleaving shuffles.

    Vectorising them in TIR would gather byte by byte, measured eight times slower.
    """
    operand = tiling.contraction.panel
    rank = len(operand.dims)
    loops = sch.get_loops(copy)[-rank:]
    vector, reduction = operand.dim_of(tiling.contraction.vector), operand.dim_of(tiling.axis)
    vectors, lanes = sch.split(loops[vector], [None, tiling.intrinsic.lanes])
    words, word = sch.split(loops[reduction], [None, tiling.intrinsic.word])
    others = [loop for d, loop in enumerate(loops) if d not in (vector, reduction)]
    sch.reorder(*others, words, vectors, lanes, word)
    sch.unroll(word)
    if not inside:
        sch.parallel(sch.fuse(*others, words) if others else words)


@derived_object
class DotTile(PyScheduleRule):
    """Tile a contraction of narrow types around a dot-product instruction.

    The structure is :class:`~mschedx.space.rules.packed_tile.PackedTile`'s, with the innermost
    lanes and reduction steps replaced by an intrinsic, and the panel operand always packed
    interleaved: all of it first and on all cores, or panel by panel. Weights whose layout is free
    are interleaved ahead of all calls.

    Rewrite
    -------
    Before, for u8·s8 → s32 (``C[i, j] += s32(A[i, k]) * s32(B[k, j])``)::

        for i, j, k: C[i, j] += A[i, k] * B[k, j]

    after, with ``j = 16·jo + jv``, ``k = 4·ko + kv`` and 512-bit VNNI::

        B'[j/16, k/4, j%16, k%4] = B[k, j]                       # here, or below j1
        parallel for i0·j0:
            A' = A[i0 tile, :]                                   # only if cached
            for j1, i1:
                T[i2, j2·16] = 0
                for k0, k1:
                    unroll i2, j2: vpdpbusd(T[i2, j2·16 : +16], A[i, 4·ko : +4], B'[...])
                C[i2 tile, j2·16 tile] = T                       # or the fused epilogue

    Shapes that the intrinsic does not divide are padded with zeros, if the block is a product.

    Parameters
    ----------
    target : Target
        Its features choose the intrinsic.

    References
    ----------
    Heron (ASPLOS'23) §4, rule S1 and its VNNI space; packing the panel is what its published code
    leaves out (without it the instruction reads one row where it needs sixteen).
    """

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        try:
            return dot_tiles(sch, block, self.target) or [sch]
        except ScheduleError:
            # A producer or consumer that cannot be moved: the block keeps its other rules.
            return [sch]

    def clone(self) -> Any:
        return DotTile(self.target)
