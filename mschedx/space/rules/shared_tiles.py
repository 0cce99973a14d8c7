"""Tiles on their way between global memory, shared memory and the fragments of a warp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import DataType
from tvm.ir import Range, TensorLoad
from tvm.s_tir import ScheduleError
from tvm.s_tir.schedule import _ffi_api
from tvm.sym import Analyzer
from tvm.tirx import BufferStore, IntImm, Var

from mschedx.intrinsics.cuda import CudaIntrinsic
from mschedx.intrinsics.cuda_copy import async_copy

from ..annotation_keys import COOPERATIVE_FETCH, DIM_ALIGN, PITCH, VECTOR_COPY
from .blocks import choice_of

_VECTOR_BYTES = 16
"""The widest access of a thread."""


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


def scatter(sch: Any, copy: Any, sinks: Sequence[Any], loop: Any) -> None:
    """Let the copy of the result's tile, below ``loop``, write the output as it is to be.

    The crop, the scatter to the output's own shape and an elementwise epilogue are folded into the
    copy, which keeps the loops of the product, (batch,) m, n.
    """
    # Moving a block drops its predicate, so the crop comes afterwards.
    sch.reverse_compute_at(copy, loop, preserve_unit_loops=True)
    for sink in sinks:
        sch.reverse_compute_inline(sink)
    readers = sch.get_consumers(copy)
    while len(readers) == 1 and _succeeds(sch.reverse_compute_inline, readers[0]):
        readers = sch.get_consumers(copy)


@dataclass(frozen=True, slots=True)
class Copy:
    """A block that all threads of a thread block are to execute together.

    Attributes
    ----------
    block : SBlockRV
    lanes : tuple of int
        How many neighbouring instances a thread may execute at a time.
    along_last : bool
        Whether memory runs along the tile's last dimension.
    asynchronous : bool
        Whether ``cp.async`` can do it.
    """

    block: Any
    lanes: tuple[int, ...]
    along_last: bool
    asynchronous: bool = False


def lanes(sch: Any, copy: Any, run: int, dtype: str, along_last: bool) -> Copy:
    """Let a copy of elements take as many neighbours as a vector has.

    Parameters
    ----------
    run : int
        Elements that lie side by side in global memory.
    along_last : bool
        Whether memory runs along the tile's last dimension.
    """
    most = _VECTOR_BYTES * 8 // DataType(dtype).bits
    if DataType(dtype).bits == 8 and _is_guarded(sch.get(copy)):
        most = 4  # TVM cannot write a longer vector of bytes that are all zero in CUDA.
    fit = tuple(
        n
        for n in (1, 2, 4, 8, 16)
        if n <= most and run % n == 0 and along_last and _stores_aligned(sch.get(copy), n)
    )
    return Copy(copy, fit or (1,), along_last)


def vectors(sch: Any, copy: Any, run: int, dtype: str, along_last: bool) -> Copy:
    """Let a copy to shared memory be one of vectors, where it is of a type that has them.

    Each vector of the widest kind becomes a block; one that needs no guard and computes nothing may
    be copied asynchronously. Cut here rather than by TVM's postproc, which fuses rows before it
    cuts: unless a row is a power of two long, TVM cannot show then that a guard holds for a whole
    vector, and loads its elements one by one (a padded convolution on an H200: 48 µs against 9).

    Rewrite
    -------
    ``for i, j: T[i, j] = S[i, j]``  →  ``for i, j0: T[i, j0] = S[i, j0] for width neighbours``
    """
    plain = lanes(sch, copy, run, dtype, along_last)
    guarded, moves = _is_guarded(sch.get(copy)), isinstance(sch.get(copy).body.value, TensorLoad)
    width = max(n for n in plain.lanes if not moves or _loads_aligned(sch.get(copy), n))
    (read, *_), (written,) = sch.get(copy).reads, sch.get(copy).writes
    # The intrinsic's vector is one of the last dimension: weights [O, I, 1, 1] have none there.
    apart = int(read.source.shape[-1]) == 1
    known = async_copy(dtype, width, str(written.source.scope())) is not None
    if width == 1 or apart or not (known or guarded):
        return plain
    _, vector = sch.split(sch.get_loops(copy)[-1], [None, width])
    sch.vectorize(vector)
    block = sch.blockize(vector)
    if moves:
        sch.annotate(block, VECTOR_COPY, width)
    return Copy(block, (1,), along_last, asynchronous=moves)


def share(sch: Any, copy: Copy) -> None:
    """Let all threads of the block copy a tile together.

    Rewrite
    -------
    ``for i, j: T[i, j] = S[i, j]``  →  ``for ij: ...``, which TVM's postproc splits over the
    threads, sampled ``lanes`` neighbours each at a time. Where memory runs along i, ``for ji``, so
    that neighbouring threads read neighbouring elements.
    """
    *_, row, column = sch.get_loops(copy.block)
    sch.fuse(*(row, column) if copy.along_last else _exchanged(sch, row, column))
    # TVM's postproc reads a random variable only, even where there is nothing to choose.
    chances = [1 / len(copy.lanes)] * len(copy.lanes)
    sch.annotate(copy.block, COOPERATIVE_FETCH, sch.sample_categorical(list(copy.lanes), chances))


def _exchanged(sch: Any, row: Any, column: Any) -> tuple[Any, Any]:
    sch.reorder(column, row)
    return column, row


def _is_guarded(block: Any) -> bool:
    """Whether the copy writes zero beyond what there is to copy."""
    return choice_of(block.body.value) is not None


def _loads_aligned(block: Any, width: int) -> bool:
    """Whether vectors that an intrinsic copies are vectors where they lie, and aligned.

    What makes an operand is inlined by now: a slice, perhaps, of rows of another length.
    """
    load = block.body.value
    return _is_aligned(block, load.source, load.indices, width)


def _stores_aligned(block: Any, width: int) -> bool:
    """Whether vectors of a result are vectors where they go, and aligned.

    TVM takes them to, and the rows of the result may be longer than those of the product.
    """
    store = block.body
    if not isinstance(store, BufferStore) or str(store.buffer.scope()) != "global":
        return True
    return _is_aligned(block, store.buffer, store.indices, width)


def _is_aligned(block: Any, buffer: Any, indices: Sequence[Any], width: int) -> bool:
    """Whether ``width`` points of a block's innermost axis are neighbours from a multiple on."""
    axis, first, lane = block.iter_vars[-1].var, Analyzer(), Analyzer()
    start, step = Var("start", axis.ty) * width, Var("step", axis.ty)
    first.bind(axis, start)
    none, all_of_it = (IntImm(str(axis.ty), end) for end in (0, width))
    lane.bind(step, Range(none, all_of_it))
    lane.bind(axis, start + step)
    at = first.modular_set(indices[-1])
    together = lane.can_prove_equal(indices[-1], first.simplify(indices[-1]) + step)
    return together and all(int(n) % width == 0 for n in (buffer.shape[-1], at.coeff, at.base))


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
    sch.annotate(copy, PITCH, chosen)
    row = len(sch.get(copy).writes[0].region) - 2
    # What `storage_align` annotates; it takes no decision, and `annotate` checks for flat lists.
    _ffi_api.ScheduleAnnotate(sch, copy, DIM_ALIGN, [[0, row, 2 * pad, chosen]])


@dataclass(slots=True)
class Fragment:
    """A block that copies tiles between memory and the registers of a warp, by an intrinsic.

    Attributes
    ----------
    block : SBlockRV
        Copies elements until it is tensorised, tiles afterwards.
    tile : tuple of int
    intrinsic : str
        What copies a tile.
    """

    block: Any
    tile: tuple[int, int]
    intrinsic: str
    done: bool = False

    def tensorise_early(self, sch: Any) -> None:
        """Tensorise before the block is moved, if it can still be moved then.

        TVM cannot move a block that touches its only tile along a dimension: nothing in the region
        tells it which of the block's iterators selects the tile.
        """
        (written,) = sch.get(self.block).writes
        shape = written.source.shape[-2:]
        if all(int(extent) > size for extent, size in zip(shape, self.tile)):
            self.tensorise(sch)

    def tensorise(self, sch: Any) -> None:
        """Make the block one of tiles, unless it is."""
        if not self.done:
            self.block = tiles(sch, self.block, self.tile)
            sch.tensorize(self.block, self.intrinsic)
            self.done = True


def tiles(sch: Any, block: Any, shape: Sequence[int]) -> Any:
    """Cut the innermost loops into tiles and make each a block, for an intrinsic to do.

    Rewrite
    -------
    ``for i, j: T[i, j] = S[i, j]``  →  ``for i0, j0: T[i0 tile, j0 tile] = S[...]``

    Returns
    -------
    SBlockRV
        The block of a tile.
    """
    loops = sch.get_loops(block)[-len(shape) :]
    outer, inner = zip(*(sch.split(loop, [None, size]) for loop, size in zip(loops, shape)))
    sch.reorder(*outer, *inner)
    return sch.blockize(inner[0])
