"""A hand-made tensor-core schedule of a GEMM: shared memory, fragments, direct or staged stores."""

import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.support import nvcc
from tvm.target import Target
from tvm.tirx import PrimFunc

from mschedx.intrinsics.cuda import CudaIntrinsic

WARP = 32
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "int8": 1, "int32": 4}


def gemm(m: int, n: int, k: int, intrinsic: CudaIntrinsic) -> PrimFunc:
    """C[m, n] = A[m, k] · B[k, n] (or B[n, k]), operands cast to the type of C."""
    a = te.placeholder((m, k), intrinsic.in_dtype, name="A")
    b_shape = (n, k) if intrinsic.b_transposed else (k, n)
    b = te.placeholder(b_shape, intrinsic.in_dtype, name="B")
    r = te.reduce_axis((0, k), "r")

    def element(i, j):
        b_value = b[j, r] if intrinsic.b_transposed else b[r, j]
        if intrinsic.in_dtype == intrinsic.out_dtype:
            return te.sum(a[i, r] * b_value, axis=r)
        return te.sum(
            a[i, r].astype(intrinsic.out_dtype) * b_value.astype(intrinsic.out_dtype), axis=r
        )

    return te.create_prim_func([a, b, te.compute((m, n), element, name="C")])


def tensor_core_gemm(
    m: int,
    n: int,
    k: int,
    intrinsic: CudaIntrinsic,
    *,
    warps: tuple[int, int] = (2, 2),
    steps: int = 2,
    load_scope: str = "shared.dyn",
    store_scope: str = "global",
    pipeline: str = "none",
) -> Schedule:
    """Schedule a GEMM whose sizes the block's tile divides.

    Parameters
    ----------
    m, n, k : int
        Sizes.
    intrinsic : CudaIntrinsic
        What multiplies; each warp has two by two of its tiles, or as many as 32 × 32 takes.
    warps : tuple[int, int]
        Warps of a block along m and n.
    steps : int
        Tiles along k that are in shared memory at a time.
    load_scope, store_scope : str
        Where A and B are staged; where C is, or "global" to store fragments directly.
    pipeline : str
        "none"; "shared" or "fragments" to load the next ones while the current are used.
    """
    sch = Schedule(gemm(m, n, k, intrinsic))
    c = sch.get_sblock("C")
    names = intrinsic.names(load_scope, store_scope)
    tm, tn, tk = intrinsic.shape
    wm, wn = max(2, 32 // tm), max(2, 32 // tn)
    i, j, r = sch.get_loops(c)
    i0, i1, i2, i3 = sch.split(i, [None, warps[0], wm, tm])
    j0, j1, j2, j3 = sch.split(j, [None, warps[1], wn, tn])
    r0, r1, r2 = sch.split(r, [None, steps, tk])
    sch.reorder(i0, j0, i1, j1, r0, r1, i2, j2, i3, j3, r2)
    block, warp = sch.fuse(i0, j0), sch.fuse(i1, j1)
    sch.bind(block, "blockIdx.x")
    sch.bind(warp, "threadIdx.y")

    b_tile = (tn, tk) if intrinsic.b_transposed else (tk, tn)
    operands = ((0, (tm, tk), names.load_a), (1, b_tile, names.load_b))
    for index, tile, load in operands:
        staged = sch.cache_read(c, index, load_scope)
        sch.compute_at(staged, r0)
        vector = 16 // _BYTES[intrinsic.in_dtype]
        _copy_together(sch, staged, warps[0] * warps[1], vector)
        # Sixteen bytes between rows keep them aligned and spread over the banks.
        sch.storage_align(staged, 0, -2, 4 * vector, vector)
        fragment = sch.cache_read(c, index, intrinsic.scopes[index])
        sch.compute_at(fragment, r1)
        _tensorize_tiles(sch, fragment, tile, load)
    if store_scope != "global":
        result = sch.cache_write(c, 0, store_scope)
        sch.reverse_compute_at(result, block)
        _copy_together(sch, result, warps[0] * warps[1], 16 // _BYTES[intrinsic.out_dtype])
    accumulator = sch.cache_write(c, 0, intrinsic.scopes[2])
    sch.reverse_compute_at(accumulator, warp)
    _tensorize_tiles(sch, accumulator, (tm, tn), names.store)

    start = sch.decompose_reduction(c, r0)
    sch.tensorize(sch.get_loops(start)[-2], names.fill)
    sch.tensorize(i3, names.multiply)
    if pipeline != "none":
        loop = r0 if pipeline == "shared" else r1
        sch.annotate(loop, "software_pipeline_stage", [0, 0, 1])
        sch.annotate(loop, "software_pipeline_order", [0, 1, 2])
    return sch


def _copy_together(sch: Schedule, block, warps: int, vector: int) -> None:
    """Let all threads of the block copy, 16 bytes each at a time."""
    flat = sch.fuse(*sch.get_loops(block)[-2:])
    _, y, x, lane = sch.split(flat, [None, warps, WARP, vector])
    sch.bind(y, "threadIdx.y")
    sch.bind(x, "threadIdx.x")
    sch.vectorize(lane)


def _tensorize_tiles(sch: Schedule, block, tile: tuple[int, int], name: str) -> None:
    """Cut the copy ``block`` into tiles and let the intrinsic do each."""
    row, column = sch.get_loops(block)[-2:]
    row0, row1 = sch.split(row, [None, tile[0]])
    column0, column1 = sch.split(column, [None, tile[1]])
    sch.reorder(row0, column0, row1, column1)
    sch.tensorize(row1, name)


def cuda_source(schedules: dict[str, Schedule], target: Target) -> str:
    """Generate one CUDA source for many schedules, a kernel ``{name}_kernel`` each."""
    functions = {
        name: sch.mod["main"].with_attr("global_symbol", name) for name, sch in schedules.items()
    }
    built = tvm.compile(tvm.IRModule(functions), target)
    return built.mod.imports[0].inspect_source()


def ptx_by_kernel(source: str, target: Target) -> dict[str, str]:
    """Compile CUDA source with nvcc; returns the PTX of every kernel by its name."""
    with target:
        ptx = nvcc.compile_cuda(source, "ptx", arch=str(target.attrs["arch"]), compiler="nvcc")
    _, *entries = bytes(ptx).decode().split(".entry ")
    return {entry.split("(", 1)[0].removesuffix("_kernel"): entry for entry in entries}
