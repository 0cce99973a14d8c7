"""The elementwise blocks after a contraction, computed on its tiles: one block, or a few.

They are one block unless a vector function has to stay one of its own
(:mod:`.keep_functions`): ``s = sigmoid(c + b); y = (c + b) * s``.
"""

from __future__ import annotations

from typing import Any

from tvm import tirx


def epilogue_of(sch: Any, block: Any) -> list[Any]:
    """The blocks that compute the function's result from a block's, in the order of the program.

    Each is elementwise: it has the axes of the first, and of the results of the block and of the
    others it reads the very element that it is at. Nothing but the last is a result, and nothing
    reads that. Empty where what comes after the block is anything else, or nothing.
    """
    names: list[str] = []
    after = [block]
    while after:
        consumers = sch.get_consumers(after.pop())
        new = [one for one in consumers if sch.get(one).name_hint not in names]
        names += [sch.get(one).name_hint for one in new]
        after += new
    blocks = [sch.get_sblock(name) for name in _in_order(sch, names)]
    return blocks if _is_elementwise(sch, block, blocks) else []


def as_one_block(sch: Any, block: Any) -> None:
    """Inline an epilogue into its last block."""
    for early in epilogue_of(sch, block)[:-1]:
        sch.compute_inline(early)


def _in_order(sch: Any, names: list[str]) -> list[str]:
    function = next(iter(sch.mod.functions.values()))
    root = sch.get_sblock(function.body.block.name_hint)
    order = [sch.get(child).name_hint for child in sch.get_child_blocks(root)]
    return [name for name in order if name in names]


def _is_elementwise(sch: Any, block: Any, blocks: list[Any]) -> bool:
    made = [sch.get(block).writes[0].source]
    if not blocks or is_parameter(sch, made[0]):
        return False
    for one in blocks:
        body: Any = sch.get(one)
        ends = not sch.get_consumers(one)
        last = one is blocks[-1]
        if ends != last or _extents(body) != _extents(sch.get(blocks[0])):
            return False
        if not _is_spatial(body) or not all(reads_in_place(sch, one, buffer) for buffer in made):
            return False
        if is_parameter(sch, body.writes[0].source) and not last:
            return False
        made.append(body.writes[0].source)
    return True


def _is_spatial(body: Any) -> bool:
    parallel = all(iv.iter_type == tirx.IterVar.DataPar for iv in body.iter_vars)
    return body.init is None and len(body.writes) == 1 and parallel


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
    only = isinstance(axis.dom.extent, tirx.IntImm) and int(axis.dom.extent) == 1
    return bounds.min.same_as(axis.var) or (only and isinstance(bounds.min, tirx.IntImm))
