"""The elementwise blocks after a contraction, computed on its tiles: one block, or a few.

They are one block unless a vector function has to stay one of its own
(:mod:`.keep_functions`): ``s = sigmoid(c + b); y = (c + b) * s``.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.s_tir import Schedule, ScheduleError

from .blocks import (
    constant_extent,
    is_at,
    is_parameter,
    reads_in_place,
    root_blocks,
    updates_in_place,
)


def epilogue_of(sch: Any, block: Any) -> list[Any]:
    """The blocks that compute the function's result from a block's, in the order of the program.

    Each is elementwise: it has the axes of the first, stores one element, that which it is at, and
    of the results of the block and of the others it reads the very same; of any other block it
    reads nothing. Nothing but the last is a result, and nothing reads that. Empty where what comes
    after the block is anything else, or nothing.
    """
    names: list[str] = []
    after = [block]
    while after:
        consumers = sch.get_consumers(after.pop())
        new = [one for one in consumers if sch.get(one).name_hint not in names]
        names += [sch.get(one).name_hint for one in new]
        after += new
    blocks = [one for one in root_blocks(sch) if sch.get(one).name_hint in names]
    return blocks if _is_elementwise(sch, block, blocks) else []


def as_one_block(sch: Any, block: Any) -> None:
    """Inline an epilogue into its last block."""
    for early in epilogue_of(sch, block)[:-1]:
        sch.compute_inline(early)


def with_one_block(sch: Schedule, block: Any) -> Schedule:
    """A schedule whose epilogue is one block: a copy, or itself where it is, or TVM refuses."""
    if len(epilogue_of(sch, block)) < 2:
        return sch
    try:
        made = sch.copy()
        as_one_block(made, block)
    except ScheduleError:
        return sch
    return made


def _is_elementwise(sch: Any, block: Any, blocks: list[Any]) -> bool:
    made = [sch.get(block).writes[0].source]
    if not blocks or is_parameter(sch, made[0]):
        return False
    names = {sch.get(one).name_hint for one in (block, *blocks)}
    for one in blocks:
        body: Any = sch.get(one)
        ends = not sch.get_consumers(one)
        last = one is blocks[-1]
        if ends != last or _extents(body) != _extents(sch.get(blocks[0])):
            return False
        in_place = all(reads_in_place(sch, one, buffer) for buffer in made)
        if not in_place or not _stores_in_place(body):
            return False
        if is_parameter(sch, body.writes[0].source) and not last:
            return False
        # TVM moves a block below a loop only where all that makes what it reads is.
        if any(sch.get(producer).name_hint not in names for producer in sch.get_producers(one)):
            return False
        made.append(body.writes[0].source)
    return True


def _stores_in_place(body: Any) -> bool:
    """Whether a block is one store, at the element that its axes are at, and no reduction.

    Others cannot be inlined (``if i < 4: s[i] = ...``), or, as one that turns what it writes
    (``s[j, i] = f(c[i, j])``), are not where the tile is. One that reads what it writes
    (``s[i] = s[i] + c[i]``) TVM does not move.
    """
    store, axes = body.body, list(body.iter_vars)
    if body.init is not None or body.match_buffers or not isinstance(store, tirx.BufferStore):
        return False
    if updates_in_place(body):
        return False
    parallel = all(iv.iter_type == tirx.IterVar.DataPar for iv in axes)
    indices = list(store.indices)
    return parallel and len(indices) == len(axes) and all(map(is_at, indices, axes))


def _extents(body: Any) -> list[int | None]:
    return [constant_extent(iv.dom.extent) for iv in body.iter_vars]
