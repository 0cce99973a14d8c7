"""Zeros behind the axes of a product, so that tiles divide it."""

from __future__ import annotations

from typing import Any

from .blocks import is_parameter
from .contraction import Contraction
from .epilogue import epilogue_of
from .register_tile import TileLimits, vector_length
from .typical import divisor_between

PART_ADDED = 8
"""Zeros behind an axis are at most one part in so many of it: by hand, not by a sweep."""


def can_pad(contraction: Contraction) -> bool:
    """Whether zeros can be put behind every axis: a product of whole matrices.

    ``pad_einsum`` takes buffers to end where the axes do. It reads a slice ``B[1, k, j]`` from 0,
    and writes all of a result that is longer than the product.
    """
    output = tuple(contraction.extents[axis] for axis in contraction.output_plain)
    operands = contraction.panel.whole and contraction.broadcast.whole
    return operands and contraction.output_shape == output


def padding_factors(contraction: Contraction, limits: TileLimits) -> list[int] | None:
    """Multiples to pad each axis to; None when the shape tiles well or cannot be padded.

    The vector axis is padded to whole vectors where that costs little more work (`PART_ADDED`), or
    where no shorter vector divides it. A row axis is padded to a multiple of eight (of
    four below 64) when no divisor between 4 and ``row_unroll`` lets it share the loads of a panel;
    these three are chosen by hand, not by a sweep.
    """
    if not can_pad(contraction):
        return None
    factors = [1] * len(contraction.extents)
    extent = contraction.extents[contraction.vector]
    whole = -(-extent // limits.lanes) * limits.lanes
    cheap = whole - extent <= extent // PART_ADDED or vector_length(extent, limits.lanes) is None
    if limits.lanes < extent < whole and cheap:
        factors[contraction.vector] = limits.lanes
    for axis in contraction.rows:
        extent = contraction.extents[axis]
        tile = divisor_between(extent, 4, limits.row_unroll)
        if extent > limits.row_unroll and tile is None:
            factors[axis] = 8 if extent >= 64 else 4
    return factors if max(factors) > 1 else None


def pad(sch: Any, block: Any, factors: list[int]) -> Any:
    """Pad a product's axes with zeros to multiples of ``factors``; returns ``sch``."""
    before = sch.get(block).writes[0].source
    sch.pad_einsum(block, factors)
    cropped = not sch.get(block).writes[0].source.same_as(before)
    if not cropped or is_parameter(sch, before):
        return sch
    for crop in sch.get_consumers(block):
        # The crop of the padded result folds into the epilogue that reads it, if there is one.
        if len(sch.get_consumers(crop)) == 1 or epilogue_of(sch, crop):
            sch.compute_inline(crop)
    return sch
