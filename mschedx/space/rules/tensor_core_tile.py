"""A contraction on the tensor cores of NVIDIA GPUs: block, warp and fragment tiles."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import DataType
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule
from tvm.target import Target

from mschedx.intrinsics.cuda import CudaIntrinsic, Names, intrinsics_for
from mschedx.intrinsics.cuda_copy import has_async_copies

from ..annotation_keys import (
    ASYNC_COPIES,
    PIPELINE_DEPTH,
    PIPELINE_ORDER,
    PIPELINE_STAGE,
    THREADS_HIGH,
    THREADS_LOW,
    UNROLL_IMPLICIT,
    WARP_EXECUTION,
)
from . import matrix_product, shared_tiles
from .blocks import root_block
from .contraction import find_contraction
from .epilogue import with_one_block
from .matrix_product import MatrixProduct, Reindexed
from .padding import PART_ADDED
from .shared_tiles import Copy, Fragment
from .typical import sample_tile

MAX_THREADS = 512
"""Threads that can each have the 128 registers that accumulators alone may take."""

_WARP_TILE = 64
"""Most rows or columns of a warp's tile: 64 x 64 float32 are 128 registers of a thread."""

_PIPELINE_DEPTHS = (0, 1, 2, 3)
"""How many iterations ahead tiles are fetched into shared memory; 0: not ahead."""

_UNROLL = (0, 16, 64, 512)
"""Steps of a loop that a compiler may unroll, as TVM's rule for CPUs chooses among."""

_BLOCK_TILE = (128, 128)
"""Most rows and columns that a product's are padded to multiples of, those of two warps' tiles:
chosen by hand, not by a sweep."""

_STEPS_OF_K = 4
"""The same along k, in instructions."""

_BLOCKS_ALONG_Y = 65535
"""Blocks of a grid along y or z; along x there may be 2**31 - 1."""


@dataclass(frozen=True, slots=True)
class TensorCoreTiling:
    """One design space to be: an intrinsic and the sizes that it is given.

    Attributes
    ----------
    intrinsic : CudaIntrinsic
    multiples : tuple of int
        What m, n and k are padded to multiples of.
    unit : tuple of int
        Rows, columns and steps that a warp takes at least.
    asynchronous : bool
        Whether the target has asynchronous copies.
    """

    intrinsic: CudaIntrinsic
    multiples: tuple[int, int, int]
    unit: tuple[int, int, int]
    asynchronous: bool


def tensor_core_tiles(
    sch: Any, block: Any, target: Target, *, tf32: bool = False
) -> list[Schedule]:
    """Return the design spaces of :class:`TensorCoreTile` for one block; empty when it has none."""
    contraction = find_contraction(sch, block)
    product = None if contraction is None else matrix_product.as_product(contraction)
    if product is None:
        return []
    return [_tile(sch.copy(), block, product, plan) for plan in _plans(product, target, tf32)]


def _plans(product: MatrixProduct, target: Target, tf32: bool) -> list[TensorCoreTiling]:
    """Choose intrinsics: the longest ``mma``, square ``wmma``, and what pads less than these.

    None that would at least double the work by padding.
    """
    if product.a.dtype != product.b.dtype:
        return []
    along_k = product.b_along_k
    types = {"in_dtype": product.a.dtype, "out_dtype": product.dtype, "tf32": tf32}
    known = intrinsics_for(target, b_transposed=along_k, **types)
    mma = [one for one in known if one.kind == "mma"][:1]
    if not along_k and DataType(product.a.dtype).bits != 16:
        # Only 16-bit elements can be transposed on the way to fragments. Others are loaded one by
        # one, or B is transposed on the way to shared memory.
        other = intrinsics_for(target, b_transposed=True, **types)
        mma += [one for one in other if one.kind == "mma"][:1]
    wmma = [one for one in known if one.kind == "wmma" and _aligned(one)]
    plans: list[TensorCoreTiling] = []
    least = 2 * prod(product.shape)
    for intrinsic in (*mma, *wmma):
        unit = intrinsic.warp_multiple
        sizes = zip(product.shape, unit, (*_BLOCK_TILE, _STEPS_OF_K * unit[2]))
        m, n, k = (_multiple(*size) for size in sizes)
        work = prod(-(-extent // to) * to for extent, to in zip(product.shape, (m, n, k)))
        square = intrinsic.shape[0] == intrinsic.shape[1]
        if work < least or (square and work == least):
            plans.append(TensorCoreTiling(intrinsic, (m, n, k), unit, has_async_copies(target)))
            least = work
    return plans


def _aligned(intrinsic: CudaIntrinsic) -> bool:
    """Whether every tile of a buffer starts at a multiple of the 32 bytes that ``wmma`` asks for.

    Rows are aligned by their pitch; neighbouring tiles in a row by the width of a tile.
    """
    _, n, k = intrinsic.shape
    size, result = (DataType(d).bits // 8 for d in (intrinsic.in_dtype, intrinsic.out_dtype))
    widths = (k * size, (k if intrinsic.b_transposed else n) * size, n * result)
    return all(width % 32 == 0 for width in widths)


def _multiple(extent: int, unit: int, best: int) -> int:
    """What to pad an extent to: the largest tile that costs little (`PART_ADDED`), or a unit."""
    if extent % min(best, 2 * unit) == 0:
        return unit
    multiple = best
    while multiple > unit and -(-extent // multiple) * multiple > extent + extent // PART_ADDED:
        multiple //= 2
    return max(multiple, unit)


def _tile(sch: Any, block: Any, product: MatrixProduct, plan: TensorCoreTiling) -> Schedule:
    # What decides nothing comes first, so that an analysis does it once for all configs.
    new = matrix_product.rewrite(sch, block, product, plan.multiples, plan.intrinsic.b_transposed)
    direct = not new.sinks and not sch.get_consumers(block)
    scope = "global" if direct else shared_tiles.result_scope(plan.intrinsic)
    names = plan.intrinsic.names("shared.dyn", scope)
    copies = _copies(sch, block, product, new, plan.intrinsic)
    result = None if direct else sch.cache_write(block, 0, scope)
    a, b, accumulator = _fragments(sch, block, product, plan.intrinsic, names)
    for fragment in (a, b, accumulator):
        fragment.tensorise_early(sch)
    block = shared_tiles.tiles(sch, block, plan.intrinsic.shape)
    # RewriteCooperativeFetch reads this off the trace, before the copies that it is to split.
    sch.annotate(block, WARP_EXECUTION, 1)

    loops = _loops(sch, block, plan)
    operands = (product.a, product.b)
    for i, (operand, copy, fragment) in enumerate(zip(operands, copies, (a, b))):
        sch.compute_at(fragment.block, loops.k_inner, preserve_unit_loops=True)
        fragment.tensorise(sch)
        sch.compute_at(copy.block, loops.k_outer, preserve_unit_loops=True)
        shared_tiles.share(sch, copy)
        shared_tiles.pad_rows(sch, copy.block, operand.dtype, plan.intrinsic.row_bytes[i])
    sch.reverse_compute_at(accumulator.block, loops.warp, preserve_unit_loops=True)
    accumulator.tensorise(sch)
    if result is not None:
        shared_tiles.scatter(sch, result, new.sinks, loops.grid)
        last = product.output[-1]
        run, along_last = product.extents[last], last in product.n
        shared_tiles.share(sch, shared_tiles.lanes(sch, result, run, product.dtype, along_last))
    start = sch.decompose_reduction(block, loops.k_outer)
    sch.tensorize(start, names.fill)
    sch.annotate(block, THREADS_LOW, 32)
    sch.annotate(block, THREADS_HIGH, MAX_THREADS)
    # Not before: as long as the block also starts its sums, it is not what the intrinsic describes.
    sch.tensorize(block, names.multiply)
    asynchronous = plan.asynchronous and any(copy.asynchronous for copy in copies)
    _pipeline(sch, loops.k_outer, new.shape[2] // plan.intrinsic.shape[2], asynchronous)
    return sch


def _copies(
    sch: Any, block: Any, product: MatrixProduct, new: Reindexed, intrinsic: CudaIntrinsic
) -> list[Copy]:
    """Give A and B tiles in shared memory, still beside the block's loops."""
    along = (product.a_along_k, product.b_along_k == intrinsic.b_transposed)
    copies = []
    for operand, sources, along_last in zip((product.a, product.b), new.sources, along):
        copy = shared_tiles.gather(sch, block, operand.index, sources)
        run = product.run(operand)
        copies.append(shared_tiles.vectors(sch, copy, run, operand.dtype, along_last))
    return copies


def _fragments(
    sch: Any, block: Any, product: MatrixProduct, intrinsic: CudaIntrinsic, names: Names
) -> tuple[Fragment, Fragment, Fragment]:
    """Give A, B and the result fragments, still beside the block's loops."""
    m, n, k = intrinsic.shape
    b_tile = (n, k) if intrinsic.b_transposed else (k, n)
    operands = zip((product.a, product.b), intrinsic.scopes)
    a, b = (sch.cache_read(block, operand.index, scope) for operand, scope in operands)
    c = sch.cache_write(block, 0, intrinsic.scopes[2])
    return (
        Fragment(a, (m, k), names.load_a),
        Fragment(b, b_tile, names.load_b),
        Fragment(c, (m, n), names.store),
    )


@dataclass(frozen=True, slots=True)
class WarpTileLoops:
    """The loops that the other steps refer to: see :class:`TensorCoreTile` for their order."""

    grid: Any
    warp: Any
    k_outer: Any
    k_inner: Any


def _loops(sch: Any, block: Any, plan: TensorCoreTiling) -> WarpTileLoops:
    """Sample the tiles of a block of instructions, bring the loops into order and bind them."""
    *batch, m, n, k = sch.get_loops(block)
    blocks = [_most_blocks(sch, loop, plan, d) for loop, d in ((n, 1), (m, 0))]
    blocks += [int(sch.get(loop).extent) for loop in batch]
    (m0, mw, *mf), (n0, nw, *nf) = (
        _split(sch, loop, plan.unit[d], plan.intrinsic.shape[d]) for d, loop in enumerate((m, n))
    )
    k0, k1 = sch.split(k, sample_tile(sch, k, 2, 8))
    sch.reorder(*batch, m0, n0, mw, nw, k0, k1, *mf, *nf)
    # Unfused, the grid leaves no quotients in the indices, which would slow every replay down.
    grid = sorted(zip((n0, m0, *batch), blocks), key=lambda one: one[1] <= _BLOCKS_ALONG_Y)
    for (loop, _), tag in zip(grid, ("x", "y", "z")):
        sch.bind(loop, f"blockIdx.{tag}")
    warp = sch.fuse(mw, nw)
    sch.bind(warp, "threadIdx.y")
    root = root_block(sch)
    unroll = sch.sample_categorical(list(_UNROLL), [1 / len(_UNROLL)] * len(_UNROLL))
    sch.annotate(root, UNROLL_IMPLICIT, unroll)
    return WarpTileLoops(n0, warp, k0, k1)


def _most_blocks(sch: Any, tiles: Any, plan: TensorCoreTiling, d: int) -> int:
    """Thread blocks along an axis of tiles, if each takes no more than a warp takes at least."""
    return int(sch.get(tiles).extent) * plan.intrinsic.shape[d] // plan.unit[d]


def _split(sch: Any, tiles: Any, unit: int, size: int) -> list[Any]:
    """Split an axis of tiles for blocks, warps and fragments, in units of what a warp takes."""
    units, *rest = sch.split(tiles, [None, unit // size]) if unit > size else [tiles]
    most = max(1, _WARP_TILE // unit)
    factors = sample_tile(sch, units, 3, most)
    return [*sch.split(units, factors), *rest]


def _pipeline(sch: Any, loop: Any, steps: int, asynchronous: bool) -> None:
    """Fetch the tiles of later iterations while this one's are multiplied."""
    if steps < 2:
        return  # TVM rejects a pipeline that never iterates.
    chances = [1 / len(_PIPELINE_DEPTHS)] * len(_PIPELINE_DEPTHS)
    depth = sch.sample_categorical(list(_PIPELINE_DEPTHS), chances)
    # TVM drops a decision from a trace that only a list uses.
    sch.annotate(loop, PIPELINE_DEPTH, depth)
    sch.annotate(loop, PIPELINE_STAGE, [0, 0, depth])
    sch.annotate(loop, PIPELINE_ORDER, [0, 1, 2])
    if asynchronous:
        sch.annotate(loop, ASYNC_COPIES, sch.sample_categorical([0, 1], [0.5, 0.5]))


@derived_object
class TensorCoreTile(PyScheduleRule):
    """Tile a contraction around a tensor-core instruction, with tiles staged in shared memory.

    The contraction becomes a product of padded matrices first (:mod:`.matrix_product`), so any
    matrix product or convolution has this structure. There is one design space for each intrinsic
    that serves: ``mma.sync``, and ``wmma`` in up to three shapes.

    Rewrite
    -------
    Before::

        for i, j, k: C[i, j] += A[i, k] * B[k, j]

    after, for tiles of 16 x 16 x 16 and sampled ``i = (i0, iw, if)``, ``j = (j0, jw, jf)``,
    ``k = (k0, k1)``, each but ``k`` in units of what a warp takes at least::

        blockIdx.y for i0, blockIdx.x for j0:        # a long batch, or i0, takes x, which has more
            threadIdx.y for iw·jw:                   # a warp each
                c[if, jf tiles] = fill()
                for k0 (pipelined, 0 to 3 iterations ahead; asynchronous or not):
                    A_shared = A[i block, k0 tile]   # by all threads, a vector each
                    B_shared = B[k0 tile, j block]
                    for k1:
                        a, b = load(A_shared), load(B_shared)
                        for if, jf: c[if, jf] = multiply(a[if], b[jf], c[if, jf])
                C[i, j tiles] = store(c)             # or C_shared, where C has another shape
            C[...] = epilogue(C_shared)              # by all threads, only then

    Whether rows of shared memory are padded against bank conflicts is a decision for each operand.
    So is, from sm_80 on, whether vectors that need no guard are copied by ``cp.async``, where tiles
    are fetched ahead: a postproc, :class:`~mschedx.space.postprocs.async_copies.AsyncCopies`, sees
    to that. Padded operands are copied element by element or in sampled lanes, synchronously.

    Parameters
    ----------
    target : Target
        Its ``arch`` decides which intrinsics there are.
    tf32 : bool
        Also tile float32 contractions, cutting operands to tf32.

    References
    ----------
    Heron (ASPLOS'23) §4: rules S1 (tensorise), S2 (multi-level) and S3 (multi-scope staging).
    """

    def __init__(self, target: Target, *, tf32: bool = False) -> None:
        super().__init__()
        self.target = target
        self.tf32 = tf32

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        if find_contraction(sch, block) is None:
            return [sch]
        # Tiles, those of TVM's rules too, end in no more than one block that reads their result.
        sch = with_one_block(sch, block)
        try:
            return tensor_core_tiles(sch, block, self.target, tf32=self.tf32) or [sch]
        except ScheduleError:
            # A producer or consumer that cannot be moved: the block keeps its other rules.
            return [sch]

    def clone(self) -> Any:
        return TensorCoreTile(self.target, tf32=self.tf32)
