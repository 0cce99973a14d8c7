"""Accesses by role: regions, strides, and the quantities named after them."""

from __future__ import annotations

from collections.abc import Sequence

from ...algebra.expression import Expression, add, constant, multiply, where_at_most
from ..model import AccessInfo, LoopInfo
from ..read.program import dtype_bytes
from .symbolic import SymbolicProgram

STRIDE = ".stride@"
"""What the name of a stride has between the access and the loop."""


def accesses(found: SymbolicProgram) -> tuple[AccessInfo, ...]:
    """Describe what every block reads and writes."""
    result = []
    buffers = {b.name: b for b in found.template.buffers}
    for b, block in enumerate(found.template.blocks):
        levels = len(block.loops) + 1
        for a, access in enumerate(block.accesses):
            buffer, forms = buffers[access.buffer], found.regions[b][a]
            result.append(
                AccessInfo(
                    block=block.name,
                    buffer=buffer.name,
                    scope=buffer.scope,
                    dtype=buffer.dtype,
                    is_write=access.is_write,
                    element_bytes=dtype_bytes(buffer.dtype),
                    loops=block.loops,
                    regions=tuple(tuple(form.reach[:levels]) for form in forms),
                    cooperative_regions=tuple(
                        tuple(form.reach[levels : 2 * levels]) for form in forms
                    ),
                    strides=tuple(_stride(found, b, a, loop) for loop in block.loops),
                )
            )
    return tuple(result)


def _stride(found: SymbolicProgram, b: int, a: int, loop: int) -> Expression | None:
    """Elements between neighbouring iterations of a loop in the row-major buffer."""
    access = found.template.blocks[b].accesses[a]
    row: Expression = constant(1)
    total: list[Expression] = []
    for extent, form in zip(reversed(found.shapes[access.buffer]), reversed(found.regions[b][a])):
        for part in form.components:
            if part.loop == loop and part.every is None:
                return None
            if part.loop == loop:
                moves = where_at_most(part.every or 1, 1, part.stride, 0)
                # A loop of its own moves whenever it runs; of a fused one's parts, one does.
                alone = part.count == found.extents[loop]
                total.append(multiply(row, moves if alone else _if_many(part.count, moves)))
        if extent is None or loop in form.tangled:
            return None
        row = multiply(row, extent)
    return add(0, *total)


def _if_many(count: Expression, then: Expression) -> Expression:
    return where_at_most(count, 1, 0, then)


def footprints(access: AccessInfo, loops: Sequence[LoopInfo]) -> dict[str, Expression | None]:
    """Elements touched while a loop runs, for the loops that change them, and its strides."""
    prefix = prefix_of(access)
    named: dict[str, Expression | None] = {}
    before = None
    for level in reversed(range(len(access.loops) + 1)):
        dims = [levels[level] for levels in access.regions]
        size = None if None in dims else multiply(1, *(e for e in dims if e is not None))
        if size != before:
            at = (
                loops[access.loops[level]].name.split("/")[1]
                if level < len(access.loops)
                else "body"
            )
            named[f"{prefix}@{at}"] = size
            before = size
    for loop, stride in zip(access.loops, access.strides):
        if stride != constant(0):
            named[stride_name(access, loops[loop])] = stride
    return named


def prefix_of(access: AccessInfo) -> str:
    """Name an access."""
    return f"{access.block}/{access.buffer}.{'write' if access.is_write else 'read'}"


def stride_name(access: AccessInfo, loop: LoopInfo) -> str:
    """Name the stride of a loop in an access."""
    return f"{prefix_of(access)}{STRIDE}{loop.name.split('/')[1]}"


def unknown_strides(accesses: Sequence[AccessInfo], loops: Sequence[LoopInfo]) -> dict[str, str]:
    """Name the strides without an expression, with the reason."""
    return {
        stride_name(
            access, loops[loop]
        ): "the loop moves with others, or too few replays show it move"
        for access in accesses
        for loop, stride in zip(access.loops, access.strides)
        if stride is None
    }
