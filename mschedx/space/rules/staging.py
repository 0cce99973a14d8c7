"""Tiles on their way between global memory, shared memory and the fragments of a warp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import DataType
from tvm.ir import Call
from tvm.s_tir import ScheduleError

from ..intrinsics.cuda import CudaIntrinsic
from .async_copies import VECTORS

_VECTOR_BYTES = 16
"""The widest access of a thread."""
_FETCH = "meta_schedule.cooperative_fetch"


def result_scope(intrinsic: CudaIntrinsic) -> str:
    """Shared scope for a result tile that cannot clash with operands of another type.

    TVM lays buffers of ``shared.dyn`` over each other whatever their types, which the pointers of
    ``wmma`` stores do not survive; ``mma`` stores without pointers.
    """
    same = intrinsic.in_dtype == intrinsic.out_dtype
    return "shared.dyn" if intrinsic.kind == "mma" or same else "shared"


def gather(sch: Any, block: Any, index: int, sources: Sequence[Any]) -> Any:
    """Give an operand a tile in shared memory, into which what makes the operand is inlined."""
    shared = sch.cache_read(block, index, "shared.dyn")
    for source in sources:
        _inline_producers(sch, source)
        sch.compute_inline(source)
    return shared


def _inline_producers(sch: Any, source: Any) -> None:
    """Inline padding and elementwise blocks before the operand, where TVM can."""
    for producer in sch.get_producers(source):
        if sch.get(producer).init is None and len(sch.get_consumers(producer)) == 1:
            _inline_producers(sch, producer)
            _succeeds(sch.compute_inline, producer)


def _succeeds(primitive: Callable[[Any], None], block: Any) -> bool:
    """Try to inline a block; one that TVM cannot inline stays a kernel of its own."""
    try:
        primitive(block)
    except ScheduleError:
        return False
    return True


def scatter(sch: Any, block: Any, sinks: Sequence[Any], scope: str, loop: Any) -> Any:
    """Give the result a tile in shared memory; returns the block that copies it to the output.

    The crop, the scatter to the output's own shape and an elementwise epilogue are folded into that
    block, which keeps the loops of the product, (batch,) m, n, below ``loop``.
    """
    copy = sch.cache_write(block, 0, scope)
    # Moving a block drops its predicate, so the crop comes afterwards.
    sch.reverse_compute_at(copy, loop, preserve_unit_loops=True)
    for sink in sinks:
        sch.reverse_compute_inline(sink)
    readers = sch.get_consumers(copy)
    while len(readers) == 1 and _succeeds(sch.reverse_compute_inline, readers[0]):
        readers = sch.get_consumers(copy)
    return copy


def fetch(
    sch: Any, copy: Any, run: int, dtype: str, along_last: bool, *, vectors: bool = False
) -> Any:
    """Let all threads of the block copy a tile together.

    Rewrite
    -------
    ``for i, j: T[i, j] = S[i, j]``  →  ``for ij: ...``, which TVM's postproc splits over the
    threads, ``lanes`` neighbours each at a time. Where memory runs along i, ``for ji``, so that
    neighbouring threads read neighbouring elements, one each. With ``vectors``, a copy that needs
    no guard becomes a block for each vector, which may be copied asynchronously:
    ``for ij0: T[i, j0] = S[i, j0] for lanes neighbours``.

    Parameters
    ----------
    run : int
        Elements that lie side by side in global memory.
    along_last : bool
        Whether memory runs along the tile's last dimension.
    vectors : bool
        Whether a vector may become a block.

    Returns
    -------
    SBlockRV
        What copies a vector, where there is such a block, otherwise ``copy``.
    """
    most = _VECTOR_BYTES * 8 // DataType(dtype).bits
    guarded = _is_guarded(sch.get(copy))
    if DataType(dtype).bits == 8 and guarded:
        most = 4  # TVM cannot write a longer vector of bytes that are all zero in CUDA.
    lanes = [n for n in (1, 2, 4, 8, 16) if n <= most and run % n == 0 and along_last]
    lanes = lanes or [1]
    chosen = sch.sample_categorical(lanes, [1 / len(lanes)] * len(lanes))
    *_, row, column = sch.get_loops(copy)
    if lanes == [1] or guarded or not vectors:
        sch.fuse(row, column) if along_last else sch.fuse(*_exchanged(sch, row, column))
        sch.annotate(copy, _FETCH, chosen)
        return copy
    sch.annotate(copy, "mschedx.lanes", chosen)  # What first uses a decision names it.
    column, vector = sch.split(column, [None, chosen])
    sch.vectorize(vector)
    vectors = sch.blockize(vector)
    sch.fuse(row, column)
    # TVM's postproc reads a random variable only.
    sch.annotate(vectors, _FETCH, sch.sample_categorical([1], [1.0]))
    sch.annotate(vectors, VECTORS, chosen)
    return vectors


def _exchanged(sch: Any, row: Any, column: Any) -> tuple[Any, Any]:
    sch.reorder(column, row)
    return column, row


def _is_guarded(block: Any) -> bool:
    """Whether the copy writes zero beyond what there is to copy."""
    value = block.body.value
    return isinstance(value, Call) and str(value.op.name).endswith("if_then_else")


def pad_rows(sch: Any, copy: Any, dtype: str) -> None:
    """Set rows of shared memory 16 bytes apart from a multiple of 32 bytes.

    Eight rows of 16 bytes, which is what ``ldmatrix`` and ``wmma`` read at a time, then start in
    different banks whatever the row's length, and every row stays aligned to 16 bytes.
    """
    vector = _VECTOR_BYTES * 8 // DataType(dtype).bits
    sch.storage_align(copy, 0, -2, 2 * vector, vector)


def tensorise_tiles(sch: Any, copy: Any, tile: tuple[int, int], name: str) -> None:
    """Cut a copy into tiles and let the intrinsic do each.

    Rewrite
    -------
    ``for i, j: T[i, j] = S[i, j]``  →  ``for i0, j0: intrinsic(T[i0 tile, j0 tile], S[...])``
    """
    row, column = sch.get_loops(copy)[-2:]
    row0, row1 = sch.split(row, [None, tile[0]])
    column0, column1 = sch.split(column, [None, tile[1]])
    sch.reorder(row0, column0, row1, column1)
    sch.tensorize(row1, name)
