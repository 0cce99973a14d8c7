"""Vectors of a GPU thread whose lanes are not neighbours in memory, and their indices.

An access of neighbouring lanes has a scalar index. Any other has a vector of as many 32-bit
integers, of which ``VerifyGPUCode`` rejects plain ramps wider than 16 bytes, and the CUDA code
generator can write none: CUDA's integer vectors have four elements. Nor may a loop be around an
access of shared memory with such an index: ``ThreadSync`` asks what its rounds touch together, and
``EvalSet`` knows no vectors ("eval_vec_").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...algebra.constraints import Constraint, at_most
from ...algebra.expression import (
    Expression,
    constant,
    indicator,
    multiply,
    where_at_most,
    where_divides,
)
from ...algebra.expression import add as plus
from ...annotation_keys import UNROLL_EXPLICIT
from ..fit.replays import Replays
from ..fit.symbolic import SymbolicProgram
from ..mirror.kernels import kernel_of
from ..mirror.memory import is_shared
from ..mirror.postprocs import used_bytes
from ..model import CODE_GENERATION, KernelInfo, VectorInfo
from ..read.affine import Division, evaluate
from ..read.program import Access, Block

MAX_VECTOR_BYTES = 16
"""The widest vector ``VerifyGPUCode`` lets a thread load or store."""

CUDA_LANES = 4
"""Elements of CUDA's widest vector of integers."""

_INDEX_BYTES = 4
_POWER = 1 << 20
"""What powers of two, as far as tiles are concerned, and nothing else divides."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One component of the vectorised loop in an access.

    It moves the access ``count`` times by ``stride`` elements; ``divisors`` are what the block's
    iterator is divided by there.
    """

    count: Expression
    stride: Expression
    divisors: Sequence[int]


def vector_constraints(
    replays: Replays, vectors: Sequence[VectorInfo], kernels: Sequence[KernelInfo]
) -> list[Constraint]:
    """Vectors that a GPU thread loads or stores are 16 bytes at most, and CUDA has their index."""
    found, result = replays.found, []
    unrolled = _unroll_limit(replays)
    names = [block.name for block in found.template.blocks]
    for info in vectors:
        if info.vector is None:
            continue
        b = names.index(info.block)
        block = found.template.blocks[b]
        width = used_bytes(found.template, block)
        origin = f"VerifyGPUCode: vector bytes of {info.block}"
        result.append(at_most(multiply(width, info.vector), MAX_VECTOR_BYTES, origin))
        kernel = kernel_of(found.template, b)
        assert kernel is not None, "a block outside all loops has no vector"
        threads = kernels[kernel].threads
        assert threads is not None, "without them the vector is not known"
        for access in block.accesses:
            result += _of_access(found, info, threads, b, access)
            result += _of_tile(found, info, threads, unrolled, b, access)
    return result


def _of_access(
    found: SymbolicProgram, info: VectorInfo, threads: Expression, b: int, access: Access
) -> Iterator[Constraint]:
    block, vector = found.template.blocks[b], info.vector or constant(1)
    parts = _parts(found, b, access)
    index = _ramp_bytes(found, vector, block, parts)
    if index.columns:
        origin = f"VerifyGPUCode: index bytes of {block.name}, {access.buffer} is strided"
        yield at_most(index, MAX_VECTOR_BYTES, origin)
    most = MAX_VECTOR_BYTES // used_bytes(found.template, block)
    if most > CUDA_LANES and not _is_guarded(block) and not _is_on_chip(found, access):
        rounds, step = info.serial or constant(1), multiply(threads, vector)
        lanes = _apart(vector, rounds, step, parts)
        if lanes.columns:
            origin = f"{CODE_GENERATION}: lanes of {block.name} apart in {access.buffer}"
            yield at_most(lanes, CUDA_LANES, origin)


def _unroll_limit(replays: Replays) -> Expression | None:
    """Steps that are unrolled, 0 where nothing says so; None where it is not known how many."""
    if not any(UNROLL_EXPLICIT in dict(p.blocks[0].annotations) for p in replays.programs):
        return constant(0)
    return replays.annotation(0, UNROLL_EXPLICIT)


def _of_tile(
    found: SymbolicProgram,
    info: VectorInfo,
    threads: Expression,
    unrolled: Expression | None,
    b: int,
    access: Access,
) -> Iterator[Constraint]:
    """Keep loops away from fetches whose places in the tile are vectors of integers.

    Stated where it is certain: of 400 tiles drawn at random it held for none that compiles and for
    half of those that do not.
    """
    block, vector, rounds = found.template.blocks[b], info.vector or constant(1), info.serial
    if rounds is None or unrolled is None or access.is_write or _is_guarded(block):
        return
    if not any(one.is_write and _is_on_chip(found, one) for one in block.accesses):
        return
    parts = _parts(found, b, access)
    lanes = _astray(vector, multiply(threads, vector), parts) if len(parts) > 2 else constant(1)
    if lanes.columns:
        origin = f"{CODE_GENERATION}: lanes of {block.name} apart in a loop"
        looped = where_at_most(rounds, 1, 1, where_at_most(rounds, unrolled, 1, lanes))
        yield at_most(looped, 1, origin)


def _astray(vector: Expression, step: Expression, parts: Sequence[_Part]) -> Expression:
    """The lanes where TVM is certain to write a tile's place as a vector of integers, else 1.

    A tile of three components or more, whose rows do not follow each other in memory: a row
    divides the step of a round and is taken out of it; the next span neither divides the step nor
    is divided by it, stays as it is, and no longer fits the row's quotient.
    """
    row: Expression = constant(1)
    span: Expression = constant(1)
    for part in reversed(parts):
        span = where_at_most(2, part.count, multiply(part.count, row), span)
        row = where_at_most(2, part.count, part.count, row)
    moved: Expression = constant(0)
    before: Expression = constant(1)
    gaps: Expression = constant(0)
    for part in parts:
        apart = where_at_most(part.stride, before, where_at_most(before, part.stride, gaps, 1), 1)
        gaps = where_at_most(2, part.count, where_at_most(1, moved, apart, gaps), gaps)
        moved = plus(moved, indicator(2, part.count))
        before = multiply(before, part.count)
    unfit = where_divides(span, step, 1, where_divides(step, span, 1, vector))
    unfit = where_divides(row, step, unfit, 1)
    unfit = where_divides(row, vector, 1, where_divides(vector, row, 1, unfit))
    return where_at_most(3, moved, where_at_most(1, gaps, unfit, 1), 1)


def _parts(found: SymbolicProgram, b: int, access: Access) -> list[_Part]:
    """Components of the block's last loop in an access, the fastest first."""
    loop = found.template.blocks[b].loops[-1]
    parts = [
        (part.period, _Part(part.count, multiply(part.stride, step), _divisors(access, v)))
        for v, form in enumerate(found.iters[b])
        if (step := _step(found, access, v)) is not None
        for part in form.components
        if part.loop == loop
    ]
    return [part for _, part in sorted(parts, key=lambda one: one[0])]


def _ramp_bytes(
    found: SymbolicProgram, vector: Expression, block: Block, parts: Sequence[_Part]
) -> Expression:
    """Bytes of an index that is a ramp of lanes at equal distances, other than 1; else 0.

    It is one when the lanes stay within one row of the loop's fastest component that moves.
    """
    index: Expression = constant(0)
    total = found.extents[block.loops[-1]] or constant(_POWER)
    for part in reversed(parts):
        lanes = where_divides(vector, part.count, multiply(_INDEX_BYTES, vector), 0)
        # Threads move by powers of two, and TVM does not see that lanes stay within other rows.
        within = where_at_most(total, part.count, lanes, 0)
        lanes = where_divides(part.count, _POWER, lanes, within)
        for divisor in part.divisors:
            # Only then does TVM see that the lanes stay on one side of the quotient's steps.
            aligned = where_divides(divisor, part.count, lanes, 0)
            lanes = where_divides(part.count, divisor, lanes, aligned)
        apart = where_at_most(part.stride, 1, 0, lanes)
        index = where_at_most(2, part.count, apart, index)
    return index


def _apart(
    vector: Expression, rounds: Expression, step: Expression, parts: Sequence[_Part]
) -> Expression:
    """The lanes where TVM does not see that all are neighbours in memory, else 1.

    From the fastest component on, one follows another without a gap where its stride is what those
    before it span. Lanes are neighbours where they divide such a span. Where they reach over its
    end, TVM sees so if there is but one component more, or if the span divides the lanes.

    Parameters
    ----------
    vector : Expression
    rounds, step : Expression
        How often a thread fetches, and how many elements further.
    parts : sequence of _Part
    """
    spans: list[Expression] = [constant(1)]
    moved: list[Expression] = [constant(0)]
    for part in parts:
        spans.append(multiply(spans[-1], part.count))
        moved.append(plus(moved[-1], indicator(2, part.count)))
    shortest: Expression = constant(1)
    for part in reversed(parts):
        shortest = where_at_most(2, part.count, part.count, shortest)
    # A step of the rounds that is no multiple of the shortest span is taken apart by it, remainder
    # and quotient alike, which then fit each other.
    fitting = where_at_most(2, rounds, where_divides(shortest, step, 0, 1), 0)
    lanes: Expression = constant(1)
    for span, before, part in reversed(list(zip(spans, moved, parts))):
        inside = lanes
        for divisor in part.divisors:
            # A quotient's steps are gaps, unless the component stays between two of them.
            within = where_divides(vector, multiply(span, divisor), lanes, vector)
            inside = where_divides(part.count, divisor, inside, within)
        fits = where_at_most(1, fitting, inside, vector)
        over = where_divides(span, vector, inside, where_at_most(moved[-1], 2, inside, fits))
        gap = where_at_most(
            part.stride, span, where_at_most(span, part.stride, over, vector), vector
        )
        # Lanes reach over a shorter span's end, and a later round begins inside this one.
        astray = where_at_most(1, fitting, 1, where_divides(span, step, 1, vector))
        within = where_at_most(before, 1, 1, where_at_most(rounds, 1, 1, astray))
        ends = where_at_most(moved[-1], before, 1, within)
        lanes = where_divides(vector, span, ends, where_at_most(part.count, 1, lanes, gap))
    return lanes


def _is_guarded(block: Block) -> bool:
    """Whether a condition depends on the place: lanes that differ in it become a serial loop."""
    return block.predicated or any(name == "select" for name, _ in block.operations)


def _is_on_chip(found: SymbolicProgram, access: Access) -> bool:
    """Whether the buffer is compacted to the tile, in which the fetch's lanes are neighbours."""
    scopes = {buffer.name: buffer.scope for buffer in found.template.buffers}
    return is_shared(scopes[access.buffer])


def _divisors(access: Access, v: int) -> list[int]:
    """What a block's iterator is divided by, for quotients and remainders, in an access."""
    found: list[int] = []
    pending = [form for form in access.local if form is not None]
    while pending:
        for atom, _ in pending.pop().terms:
            if isinstance(atom, Division) and v in atom.loops():
                found.append(atom.divisor)
                pending.append(atom.inner)
    return sorted(set(found))


def _step(found: SymbolicProgram, access: Access, v: int) -> Expression | None:
    """Elements between neighbouring values of a block's iterator in the row-major buffer."""
    row: Expression = constant(1)
    total: Expression = constant(0)
    for extent, local in zip(reversed(found.shapes[access.buffer]), reversed(access.local)):
        if local is None or extent is None:
            return None
        apart = evaluate(local, {v: 1}) - evaluate(local, {})
        total = plus(total, multiply(apart, row))
        row = multiply(row, extent)
    return total
