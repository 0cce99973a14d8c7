"""Tiles on their way between global memory, shared memory and the fragments of a warp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import DataType
from tvm.ir import Call
from tvm.s_tir import ScheduleError
from tvm.s_tir.schedule import _ffi_api

from ..intrinsics.cuda import CudaIntrinsic
from ..intrinsics.cuda_copy import async_copy
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
    no guard becomes a block for each vector of the widest kind, which may be copied asynchronously:
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
    lanes = [n for n in (1, 2, 4, 8, 16) if n <= most and run % n == 0 and along_last] or [1]
    *_, row, column = sch.get_loops(copy)
    name = async_copy(dtype, lanes[-1], str(sch.get(copy).writes[0].source.scope()))
    if name is None or lanes == [1] or guarded or not vectors:
        sch.fuse(*(row, column) if along_last else _exchanged(sch, row, column))
        chosen = sch.sample_categorical(lanes, [1 / len(lanes)] * len(lanes))
        sch.annotate(copy, _FETCH, chosen)
        return copy
    column, vector = sch.split(column, [None, lanes[-1]])
    sch.vectorize(vector)
    whole = sch.blockize(vector)
    sch.fuse(row, column)
    # TVM's postproc reads a random variable only.
    sch.annotate(whole, _FETCH, sch.sample_categorical([1], [1.0]))
    sch.annotate(whole, VECTORS, lanes[-1])
    return whole


def _exchanged(sch: Any, row: Any, column: Any) -> tuple[Any, Any]:
    sch.reorder(column, row)
    return column, row


def _is_guarded(block: Any) -> bool:
    """Whether the copy writes zero beyond what there is to copy."""
    value = block.body.value
    return isinstance(value, Call) and str(value.op.name).endswith("if_then_else")


def pad_rows(sch: Any, copy: Any, dtype: str, width: int) -> None:
    """Decide whether rows of shared memory are padded against bank conflicts.

    A warp reads as many rows at a time, ``width`` bytes of each, as there are banks: rows at an odd
    multiple of ``width`` from each other lie in different ones. Tiles are an even number of widths
    long, so that this is one width more than they need; without it they conflict and leave room.

    Parameters
    ----------
    width : int
        Bytes, 16 (``ldmatrix``, ``wmma``) or a multiple that divides the 128 bytes of all banks.
    """
    pad = width * 8 // DataType(dtype).bits
    chosen = sch.sample_categorical([0, pad], [0.5, 0.5])
    sch.annotate(copy, "mschedx.pitch", chosen)
    row = len(sch.get(copy).writes[0].region) - 2
    # What `storage_align` annotates; it takes no decision, and `annotate` checks for flat lists.
    _ffi_api.ScheduleAnnotate(sch, copy, "buffer_dim_align", [[0, row, 2 * pad, chosen]])


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
