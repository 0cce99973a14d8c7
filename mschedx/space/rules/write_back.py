"""What reads the result tile of a contraction: its epilogue, or a copy, vector by vector."""

from __future__ import annotations

from typing import Any

from .contraction import Contraction
from .elementwise import split_lanes, vectorise, vectorise_innermost
from .epilogue import as_one_block, epilogue_of
from .register_tile import RegisterTileLoops, TileLimits, permute_last


def add_write_back(sch: Any, block: Any, contraction: Contraction) -> list[Any]:
    """Give the result tile readers of its own, in their order: the fused epilogue, or a copy."""
    readers = epilogue_of(sch, block)
    output = [contraction.extents[axis] for axis in contraction.output_plain]
    extents = [int(iv.dom.extent) for iv in sch.get(readers[-1]).iter_vars] if readers else []
    # A crop of a padded result is shorter than what it reads.
    inside = len(extents) == len(output) and all(e <= o for e, o in zip(extents, output))
    if extents != output or contraction.output_plain[-1] != contraction.vector:
        # No vector function is computed at the margin of a crop, or across vectors.
        as_one_block(sch, block)
        readers = readers[-1:]
    # A result that the caller gets, too, keeps its layout.
    if not inside:
        readers = [sch.cache_write(block, 0, "global")]
    dim = contraction.output_plain.index(contraction.vector)
    permute_last(sch, block, ("write", 0), len(contraction.output_plain), dim)
    return readers


def attach_write_back(
    sch: Any,
    readers: list[Any],
    contraction: Contraction,
    limits: TileLimits,
    loops: RegisterTileLoops,
) -> None:
    """Read each result tile as soon as it is done, vector by vector.

    Rewrite
    -------
    ``for i, j: S[i, j] = sigmoid(T[i, j])``, ``for i, j: Y[i, j] = T[i, j] * S[i, j]``  →
    ``unroll i2, j2: { vectorise jv: S[...] = sigmoid(T[...]); vectorise jv: Y[...] = ... }``
    """
    # Unit loops are kept: a structure that depended on a factor being 1 would be two sketches.
    for reader in readers:
        sch.reverse_compute_at(reader, loops.rows[-1], preserve_unit_loops=True)
    if contraction.output_plain[-1] != contraction.vector:
        return
    *before, last = readers
    *tile, _ = sch.get_loops(last)[-len(contraction.output_plain) :]
    vectors, lane = split_lanes(sch, last, limits.lanes)
    for reader in reversed(before):
        sch.compute_at(reader, vectors, preserve_unit_loops=True)
    # No primitive moves a block once one that reads it is an intrinsic.
    if lane is not None:
        vectorise(sch, last, lane)
    for reader in before:
        vectorise_innermost(sch, reader, limits.lanes)
    # Constant indices let the whole tile live in registers from the first zero to the last store.
    for loop in (*tile, vectors):
        sch.unroll(loop)
