"""``RewriteParallelVectorizeUnroll`` on a CPU, as expressions.

The postproc looks at one block after another. From the innermost loop outwards it fuses what is
contiguous in every access into a vector loop of limited extent, from the outermost inwards what is
parallel until the product passes a limit. Both stop at reductions (a loop of extent 1 is none) and
at loops that hold several statements. How many loops it takes depends on their extents, so the
result is a product of factors that count where a condition, itself an expression, is 1.

Held by ``test_exactness.py::test_lowered_programs`` and
``test_statements_are_what_lowered_programs_execute``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...algebra.expression import (
    Expression,
    ceil_div,
    constant,
    if_one,
    indicator,
    multiply,
    where_at_most,
)
from ...annotation_keys import PARALLEL, VECTORIZE
from ..fit.replays import Replays
from ..fit.symbolic import Component, SymbolicProgram
from ..model import VectorInfo
from .memory import children

_YES, _NO = constant(1), constant(0)


@dataclass(frozen=True, slots=True)
class _Loop:
    """What the postproc looks at.

    ``strides`` holds, by access, the stride that the postproc reads off the index, 0 where it sees
    none, and whether it is there when the extent is 1.
    """

    extent: Expression
    data_parallel: Expression
    single: bool
    free: bool
    strides: tuple[tuple[Expression, bool], ...]


def rewrite(replays: Replays, block: int) -> VectorInfo:
    """Derive the parallel extent and the vector length of a block.

    Returns
    -------
    VectorInfo
    """
    found = replays.found
    name = found.template.blocks[block].name
    parallel = replays.annotation(0, PARALLEL)
    lanes = replays.annotation(0, VECTORIZE)
    if parallel is None and lanes is None:
        vector, outer = (_explicit(found, block, kind) for kind in ("vectorized", "parallel"))
        return VectorInfo(name, vector=vector, parallel=outer)
    loops = _loops(found, block)
    if loops is None:
        return VectorInfo(name)
    taken, vector = _vector_loops(loops, lanes)
    fused, outer = _parallel_loops(loops, parallel, taken)
    everything = _NO
    if parallel is not None and lanes is not None:
        total = multiply(1, *(loop.extent for loop in loops))
        everything = _fusible_whole(loops, total)
        vector = if_one(everything, lanes, vector)
        outer = if_one(everything, ceil_div(total, lanes), outer)
    return VectorInfo(
        name,
        vector=vector,
        parallel=outer,
        in_parallel=tuple(fused),
        in_vector=tuple(taken),
        whole=everything,
    )


def _explicit(found: SymbolicProgram, block: int, kind: str) -> Expression | None:
    """The product of a block's loops of a kind."""
    loops = found.template.blocks[block].loops
    extents = [found.extents[i] for i in loops if found.template.loops[i].kind == kind]
    return None if None in extents else multiply(1, *(e for e in extents if e is not None))


def _loops(found: SymbolicProgram, block: int) -> list[_Loop] | None:
    """Describe a block's loops; None where a number the postproc would look at is not known."""
    program = found.template
    own = program.blocks[block]
    result = []
    for loop in own.loops:
        extent = found.extents[loop]
        reducing = found.reducing(loop)
        moving = [_stride(found, block, a, loop) for a in range(len(own.accesses))]
        if extent is None or None in reducing or None in moving:
            return None
        # A reduction loop of extent 1 counts as parallel once its variable is simplified away.
        parallel = _YES if not reducing else _NO if True in reducing else indicator(extent, _YES)
        record = program.loops[loop]
        result.append(
            _Loop(
                extent,
                parallel,
                single=len(children(program, loop)) == 1,
                free=not record.annotations and not record.thread,
                strides=tuple(filter(None, moving)),
            )
        )
    return result


def _stride(
    found: SymbolicProgram, block: int, a: int, loop: int
) -> tuple[Expression, bool] | None:
    """An access's row-major stride along a loop, as the postproc sees it; None: not known.

    It looks at the innermost dimension whose index has the variable as a term. Of a quotient or a
    remainder of it, it sees nothing, nor of any in an index with a difference (``10 - j``): to it
    that dimension ignores the loop.
    """
    row: Expression | None = constant(1)
    rows: list[tuple[Component, Expression]] = []
    shape = found.shapes[found.template.blocks[block].accesses[a].buffer]
    for extent, form in zip(reversed(shape), reversed(found.regions[block][a])):
        seen = [] if any(part.falls for part in form.components) else form.components
        for part in seen:
            if part.loop != loop:
                continue
            if row is None:
                return None
            rows.append((part, multiply(row, part.stride)))
        row = row and extent and multiply(row, extent)
    stride, kept = _NO, set[bool | None]()
    for part, step in reversed(rows):
        term = _is_term(part, found.extents[loop])
        if term is None:
            return None
        stride = if_one(term, step, stride)
        if term != _NO:
            kept.add(part.kept)
    if None in kept or len(kept) > 1:
        return None
    return stride, kept == {True}


def _is_term(part: Component, extent: Expression | None) -> Expression | None:
    """Whether a loop's part in an index is its variable, 0 or 1, and no quotient or remainder."""
    if part.every is None or extent is None:
        return None
    whole = _YES if part.count == extent else indicator(extent, part.count)
    return multiply(indicator(part.every, _YES), whole)


def _vector_loops(
    loops: Sequence[_Loop], lanes: Expression | None
) -> tuple[list[Expression], Expression]:
    """Which loops the vector loop takes, as 0 or 1 each, and its extent."""
    taken: list[Expression] = [_NO] * len(loops)
    if lanes is None:
        return taken, _YES
    contiguous = _contiguity(loops)
    going, product = _YES, _YES
    for index in reversed(range(len(loops))):
        loop = loops[index]
        if not loop.free or not loop.single:
            break
        product = multiply(product, loop.extent)
        going = multiply(going, loop.data_parallel, contiguous[index], indicator(product, lanes))
        taken[index] = going
    extents = [if_one(t, loop.extent, _YES) for t, loop in zip(taken, loops)]
    return taken, multiply(1, *extents)


def _contiguity(loops: Sequence[_Loop]) -> list[Expression]:
    """Whether all accesses stay contiguous when a loop joins the ones inside it, 0 or 1 each."""
    result: list[Expression] = [_YES] * len(loops)
    for a in range(len(loops[0].strides) if loops else 0):
        # What the next loop's stride must be; 0 before the first loop that moves the access.
        expected: Expression = _NO
        for index in reversed(range(len(loops))):
            (stride, kept), extent = loops[index].strides[a], loops[index].extent
            first = _YES if index == len(loops) - 1 else indicator(stride, _YES)
            follows = multiply(indicator(stride, expected), indicator(expected, stride))
            fits = where_at_most(expected, 0, first, follows)
            ignored = _NO if kept else indicator(extent, _YES)
            unit = if_one(indicator(stride, _NO), _YES, ignored)
            result[index] = multiply(result[index], if_one(unit, _YES, fits))
            expected = if_one(unit, expected, multiply(stride, extent))
    return result


def _parallel_loops(
    loops: Sequence[_Loop], limit: Expression | None, taken: Sequence[Expression]
) -> tuple[list[Expression], Expression]:
    """Which loops the parallel loop takes, as 0 or 1 each, and its extent.

    It takes outer loops until their product passes the limit.
    """
    fused: list[Expression] = [_NO] * len(loops)
    if limit is None:
        return fused, _YES
    going, product, extent = _YES, _YES, _YES
    for index, (loop, vectorized) in enumerate(zip(loops, taken)):
        if not loop.free:
            break
        going = multiply(going, loop.data_parallel, if_one(vectorized, _NO, _YES))
        fused[index] = going
        extent = multiply(extent, if_one(going, loop.extent, _YES))
        product = multiply(product, loop.extent)
        if not loop.single:
            break
        going = multiply(going, indicator(product, limit))
    return fused, extent


def _fusible_whole(loops: Sequence[_Loop], total: Expression) -> Expression:
    """Whether the postproc fuses all loops and splits the result into parallel and vector."""
    if not all(loop.free and loop.single for loop in loops):
        return _NO
    kinds = [loop.data_parallel for loop in loops]
    return multiply(indicator(2, total), *kinds, *_contiguity(loops))
