"""Shared memory of a kernel as TVM's allocator lays it out.

Buffers that live at the same time add up. A buffer that is written after others are dead may take
their place: ``StorageRewrite`` gives it a freed buffer of up to 16 times its size (whatever the
element type when the freed one is at least as large, only its own type when it must grow), and for
``shared.dyn`` ``MergeSharedMemoryAllocations`` then lays the rest over each other by the same
factor. The two-phase case, operand tiles first and one output tile after them, is exact here; other
patterns get a lower bound.

Held by ``test_heron_fact_7_shared_bytes_are_exact_and_within_the_limit`` and
``test_shared_bytes_are_exact_where_the_result_is_staged_too``; the types that must not meet by
``test_tensor_core_clash_is_what_the_build_rejects``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...algebra.constraints import Constraint, at_most
from ...algebra.expression import (
    Expression,
    Monomial,
    Sum,
    add,
    ceil_div,
    constant,
    maximum,
    minimum,
    multiply,
    where_at_most,
)
from ...annotation_keys import AUTO_TENSORIZE
from ..model import AllocationInfo
from ..read.program import Program
from .memory import users

_REACH = 16
"""How many times larger than a buffer the space it takes over may be."""

_ALIGNMENT = 64
"""Bytes to which merged buffers are aligned."""


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """Shared bytes of a kernel.

    ``bytes`` is exact, None where only ``at_least`` is known; ``clashes`` are the constraints that
    keep a tensor intrinsic's output from being laid over operands of another type.
    """

    bytes: Expression | None
    at_least: Expression
    clashes: tuple[Constraint, ...] = ()


def shared_memory(program: Program, buffers: Sequence[AllocationInfo]) -> SharedMemory | None:
    """Derive the shared memory of the kernel that owns these buffers; None if a size is unknown."""
    sizes = {b.buffer: b.bytes for b in buffers if b.bytes is not None}
    if len(sizes) != len(buffers):
        return None
    scopes = sorted({b.scope for b in buffers})
    if len(scopes) > 1:
        own = [[b for b in buffers if b.scope == scope] for scope in scopes]
        return _apart([one for some in own if (one := shared_memory(program, some)) is not None])
    spans = _spans(program, [b.buffer for b in buffers])
    moments = sorted({moment for span in spans.values() for moment in span})
    live = [
        add(0, *(sizes[name] for name, (first, last) in spans.items() if first <= m <= last))
        for m in moments
    ]
    floor = maximum(*live) if live else constant(0)
    dynamic = all(b.scope == "shared.dyn" for b in buffers)
    if max(first for first, _ in spans.values()) <= min(last for _, last in spans.values()):
        # All live at one moment: none can take another's place.
        return SharedMemory(_side_by_side(sizes, buffers) if dynamic else floor, floor)
    early, late = _phases(buffers, spans)
    if not dynamic or len(late) != 1 or not 1 <= len(early) <= 2:
        return SharedMemory(None, floor)
    return _two_phases(program, early, late[0])


def _apart(parts: Sequence[SharedMemory]) -> SharedMemory:
    """Static and dynamic shared memory add up: no buffer takes over one of the other scope."""
    known = [part.bytes for part in parts if part.bytes is not None]
    return SharedMemory(
        add(0, *known) if len(known) == len(parts) else None,
        add(0, *(part.at_least for part in parts)),
        tuple(clash for part in parts for clash in part.clashes),
    )


def _spans(program: Program, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """First and last statement, below the loops all of them share, that uses each buffer.

    A loop bound to threads runs once a thread: it is no loop over its statements.
    """

    def loops(block: int) -> list[int]:
        chain = program.blocks[block].loops
        return [loop for loop in chain if "Idx" not in program.loops[loop].thread]

    uses = {name: [loops(b) for b, _ in users(program, name)] for name in names}
    chains = [chain for found in uses.values() for chain in found]
    depth = 0
    while all(len(c) > depth and c[depth] == chains[0][depth] for c in chains):
        depth += 1
    key = {
        name: [c[depth] if len(c) > depth else -1 for c in found] for name, found in uses.items()
    }
    return {name: (min(found), max(found)) for name, found in key.items()}


def _phases(
    buffers: Sequence[AllocationInfo], spans: dict[str, tuple[int, int]]
) -> tuple[list[AllocationInfo], list[AllocationInfo]]:
    """Split at the last statement of the first buffers; empty where lifetimes straddle it."""
    border = min(last for _, last in spans.values())
    early = [b for b in buffers if spans[b.buffer][1] <= border]
    late = [b for b in buffers if spans[b.buffer][0] > border]
    return (early, late) if len(early) + len(late) == len(buffers) else ([], [])


def _side_by_side(sizes: dict[str, Expression], buffers: Sequence[AllocationInfo]) -> Expression:
    ordered = [sizes[b.buffer] for b in buffers]
    if len(ordered) == 2 and not all(map(_is_aligned, ordered)):
        return add(_align(minimum(*ordered)), maximum(*ordered))
    return add(0, *ordered)


def _two_phases(
    program: Program, early: Sequence[AllocationInfo], late: AllocationInfo
) -> SharedMemory:
    parts = [b.bytes for b in early if b.bytes is not None]
    size = late.bytes or constant(0)
    low, high = (minimum(*parts), maximum(*parts)) if len(parts) == 2 else (parts[0], parts[0])
    together = _side_by_side({b.buffer: b.bytes or constant(0) for b in early}, early)
    same_type = {b.dtype for b in early} == {late.dtype}
    grown = maximum(together, size)
    beside = add(high, size) if len(parts) == 2 else add(together, size)
    if same_type:
        rest = add(size, low) if len(parts) == 2 else size
        grown = where_at_most(size, multiply(_REACH, high), rest, grown)
    total = where_at_most(
        add(high, 1),
        size,
        grown,
        where_at_most(add(low, 1), size, beside, add(together, size)),
    )
    for part in (high, low):
        total = _where_takes_over(size, part, together, total)
    clashes = ()
    if not same_type and _has_intrinsics(program, late.buffer):
        clashes = tuple(
            at_most(
                where_at_most(b.bytes, multiply(_REACH, size), add(b.bytes, 1), 0),
                size,
                f"StorageRewrite must not lay the {late.dtype} tile {late.buffer} over the "
                f"{b.dtype} tile {b.buffer}, whose type its intrinsic rejects",
            )
            for b in early
            if b.bytes is not None and b.dtype != late.dtype
        )
    return SharedMemory(total, maximum(together, size), clashes)


def _where_takes_over(
    size: Expression, freed: Expression, then: Expression, otherwise: Expression
) -> Expression:
    """``then`` where ``size <= freed <= 16·size``."""
    inside = where_at_most(freed, multiply(_REACH, size), then, otherwise)
    return where_at_most(size, freed, inside, otherwise)


def _has_intrinsics(program: Program, buffer: str) -> bool:
    return any(
        AUTO_TENSORIZE in dict(program.blocks[b].annotations) for b, _ in users(program, buffer)
    )


def _is_aligned(expression: Expression) -> bool:
    terms = expression.terms if isinstance(expression, Sum) else (expression,)
    leading = [t.factors[0] if hasattr(t, "factors") else t for t in terms]
    return all(isinstance(t, Monomial) and t.coefficient % _ALIGNMENT == 0 for t in leading)


def _align(expression: Expression) -> Expression:
    return multiply(_ALIGNMENT, ceil_div(expression, _ALIGNMENT))
