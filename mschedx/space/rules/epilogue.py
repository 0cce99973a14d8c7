"""The elementwise blocks after a contraction, computed on its tiles: one block, or a few.

They are one block unless a vector function has to stay one of its own
(:mod:`.keep_functions`): ``s = sigmoid(c + b); y = (c + b) * s``.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx

from .stages import root_blocks


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
    (``s[j, i] = f(c[i, j])``), are not where the tile is.
    """
    store, axes = body.body, list(body.iter_vars)
    if body.init is not None or body.match_buffers or not isinstance(store, tirx.BufferStore):
        return False
    parallel = all(iv.iter_type == tirx.IterVar.DataPar for iv in axes)
    indices = list(store.indices)
    return parallel and len(indices) == len(axes) and all(map(_is_at, indices, axes))


def _extents(body: Any) -> list[int | None]:
    return [getattr(iv.dom.extent, "value", None) for iv in body.iter_vars]


def is_parameter(sch: Any, buffer: Any) -> bool:
    """Whether a buffer comes from the caller."""
    function = next(iter(sch.mod.functions.values()))
    return any(buffer.same_as(parameter) for parameter in function.params)


def reads_in_place(sch: Any, consumer: Any, buffer: Any) -> bool:
    """Whether a block reads of a buffer the very element that it is at, and no other.

    One that shifts or turns what it reads must not be computed tile by tile: TVM visits those of
    its points only that read the tile (``reverse_compute_at``), and of ``i > 0 ? x[i - 1] : 0``
    the first would never be.
    """
    body: Any = sch.get(consumer)
    own = list(body.iter_vars)
    reads = [region.region for region in body.reads if region.source.same_as(buffer)]
    return all(
        len(region) == len(own) and all(_is_axis(bounds, iv) for bounds, iv in zip(region, own))
        for region in reads
    )


def _is_axis(bounds: Any, axis: Any) -> bool:
    """Whether one dimension of a region is the one element at which an axis is."""
    if not (isinstance(bounds.extent, tirx.IntImm) and int(bounds.extent) == 1):
        return False
    return _is_at(bounds.min, axis)


def _is_at(index: Any, axis: Any) -> bool:
    """Whether an index is an axis; of one with a single point, it may be the constant too."""
    only = isinstance(axis.dom.extent, tirx.IntImm) and int(axis.dom.extent) == 1
    return index.same_as(axis.var) or (only and isinstance(index, tirx.IntImm))
