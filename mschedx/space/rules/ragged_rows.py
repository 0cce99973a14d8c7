"""Reductions of rows that no vectors divide: filled up with what changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir import TensorLoad
from tvm.tirx import FloatImm, IntImm, IterVar
from tvm.tirx.analysis import undefined_vars

from mschedx.hardware import Hardware

from .blocks import constant_extent
from .stages import Stage

_BYTES = ("int8", "uint8")
"""Rows of these become vectors by LLVM alone, whatever their length."""

_MASKED_BYTES = 64
"""Vector registers of this length have masks, by which a vector's end is not loaded."""

_SHORT_ROW = 16
_SHORT_ROW_OF_TERMS = 48
"""Rows up to which LLVM does better with all steps unrolled, without the masks of AVX-512."""


def fill_rows(sch: Any, stage: Stage, hw: Hardware) -> tuple[Any, ...] | None:
    """Copy the contiguous axis of a reduction, which no vectors divide, into whole vectors.

    Rewrite
    -------
    ``for i, r < 197: s[i] = max(s[i], x[i, r])``  →

        for i, v < 13, l < 16: c[i, v, l] = x[i, 16·v + l] if 16·v + l < 197 else lowest
        for i, r < 197: s[i] = max(s[i], c[i, r / 16, r % 16])

    and where a term is more than an element of one buffer (squares, casts), a block that makes the
    terms comes before. Split by the lanes, the reduction may run over the 208 elements that are
    there, and does: TVM forgets a split's guard once the block is computed elsewhere.

    Parameters
    ----------
    hw : Hardware
        Its registers say how many lanes, and from what length on it pays.

    Returns
    -------
    tuple of SBlockRV or None
        The blocks that make the copies, in order, for :func:`feed`; None, and nothing done, where
        the axis is no longer than a vector, or the reduction none that is worth filling up.
    """
    lanes = hw.lanes(stage.dtype)
    run = stage.contiguous_reductions()
    body: Any = sch.get(stage.block)
    neutral = _neutral(body)
    # A shorter row would be read as one vector while its parts are still on their way to memory,
    # and of bytes LLVM makes vectors by itself, which are better.
    length, masks = stage.length(run), hw.vector_bytes >= _MASKED_BYTES
    short = length <= (lanes if masks else max(lanes, _SHORT_ROW)) or stage.dtype in _BYTES
    if short or neutral is None or not factors(body):
        return None
    # Of a run over several axes TVM does not see that what vectors read is in a row.
    if len(run) == 1 and _is_plain(sch, stage):
        return (_filled_copy(sch, stage.block, 0, neutral[0], lanes),)
    if len(run) < len(stage.reductions) or (length <= _SHORT_ROW_OF_TERMS and not masks):
        return None  # terms of several rows would be taken together first
    return _filled_terms(sch, stage, neutral, lanes)


def _filled_terms(sch: Any, stage: Stage, neutral: Sequence[Any], lanes: int) -> tuple[Any, ...]:
    """Make the terms in a block of their own, and copy them."""
    # A term stays a sum, of itself alone.
    loops = [sch.get_loops(stage.block)[axis] for axis in stage.contiguous_reductions()]
    along, _ = sch.split(loops[0] if len(loops) == 1 else sch.fuse(*loops), [None, 1])
    terms = sch.rfactor(along, len(sch.get(stage.block).writes[0].region))
    copies = []
    for region, fill in zip(list(sch.get(terms).writes), neutral, strict=True):
        reads = [read.source for read in sch.get(stage.block).reads]
        number = next(n for n, source in enumerate(reads) if source.same_as(region.source))
        copies.append(_filled_copy(sch, stage.block, number, fill, lanes))
    return (terms, *copies)


def _filled_copy(sch: Any, block: Any, read: int, fill: Any, lanes: int) -> Any:
    """A copy of what a block reads, its last dimension in vectors."""
    copy = sch.cache_read(block, read, "global", [block])

    def in_vectors(*index: Any) -> list[Any]:
        *outer, last = index
        return [*outer, last // lanes, last % lanes]

    sch.transform_layout(copy, ("write", 0), in_vectors, fill)
    return copy


def feed(sch: Any, feeders: Sequence[Any], block: Any) -> None:
    """Make the copies where they are read, a few vectors at a time.

    Rewrite
    -------
    ``c[:] = ...; for v, l: p[l] += c[v, l]``  →
    ``for v: c[v, :] = ...; for l: p[l] += c[v, l]``

    Parameters
    ----------
    feeders : sequence of SBlockRV
        As :func:`fill_rows` returns them.
    block : SBlockRV
        The one that reads the copies, its loops in their final order.
    """
    loops = sch.get_loops(block)
    realize: Any = sch.get(loops[-1]).body
    pairs = zip(realize.block.iter_vars, realize.iter_values)
    sums = [value for axis, value in pairs if axis.iter_type == IterVar.CommReduce]
    over = [var for value in sums for var in undefined_vars(value)]
    innermost = [loop for loop in loops if any(map(sch.get(loop).loop_var.same_as, over))][-1]
    for feeder in reversed(feeders):
        sch.compute_at(feeder, innermost, preserve_unit_loops=True)
        if sch.get(feeder).init is not None:
            # Terms, each a sum of one; as the block says its axes, the one comes last.
            sch.decompose_reduction(feeder, sch.get_loops(feeder)[-1])


def factors(block: Any) -> bool:
    """Whether ``rfactor`` takes a reduction: TVM knows how terms combine and what changes nothing.

    A maximum that begins with minus infinity is none that it knows, nor a sum that begins with a
    bias, nor whether any holds. Of results side by side it looks by itself.
    """
    if len(block.writes) > 1:
        return True
    begins, dtype = getattr(block.init, "value", None), str(block.writes[0].source.dtype)
    if begins is None or not _combines(block):
        return False
    known = (
        identity(dtype) for kind, identity in _IDENTITIES if isinstance(block.body.value, kind)
    )
    return any(tvm_ffi.structural_equal(begins, one) for one in known)


_IDENTITIES = (
    (tirx.Add, lambda dtype: tirx.const(0, dtype)),
    (tirx.Mul, lambda dtype: tirx.const(1, dtype)),
    (tirx.Max, tirx.min_value),
    (tirx.Min, tirx.max_value),
)


def _neutral(block: Any) -> list[Any] | None:
    """What a reduction begins with, a constant for each of its results."""
    if block.init is None:
        return None
    stores = list(block.init.seq) if isinstance(block.init, tirx.SeqStmt) else [block.init]
    values = [store.value for store in stores if isinstance(store, tirx.BufferStore)]
    constants = all(isinstance(value, (IntImm, FloatImm)) for value in values)
    return values if constants and len(values) == len(block.writes) else None


def _combines(block: Any) -> bool:
    """Whether ``rfactor`` knows how the terms are taken together, results side by side as sums."""
    if len(block.writes) > 1:
        return True
    value = getattr(block.body, "value", None)
    own = getattr(value, "a", None)
    known = isinstance(value, (tirx.Add, tirx.Mul, tirx.Max, tirx.Min))
    return known and isinstance(own, TensorLoad) and own.source.same_as(block.body.buffer)


def _is_plain(sch: Any, stage: Stage) -> bool:
    """Whether a term is an element of one buffer, of which all is read in order."""
    if len(stage.reads) != 1 or len(stage.writes) != 1:
        return False
    (read,) = stage.reads
    term = sch.get(stage.block).body.value.b
    extents = [None if axis is None else stage.extents[axis] for axis in read.plain]
    whole = extents == [constant_extent(size) for size in read.buffer.shape]
    once = len(set(read.plain)) == len(read.plain) and read.plain[-1] in stage.reductions
    element = isinstance(term, TensorLoad) and term.source.same_as(read.buffer)
    return element and whole and once
