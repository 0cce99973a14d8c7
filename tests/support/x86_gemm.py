"""A hand-made CPU schedule of a GEMM around one dot-product intrinsic."""

import numpy as np
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.target import Target
from tvm.tirx import PrimFunc

from mschedx.intrinsics.x86 import X86Intrinsic


def gemm(m: int, n: int, k: int, a_dtype: str, b_dtype: str, c_dtype: str) -> PrimFunc:
    """C[m, n] = A[m, k] · B[k, n], both operands cast to ``c_dtype`` first."""
    a = te.placeholder((m, k), a_dtype, name="A")
    b = te.placeholder((k, n), b_dtype, name="B")
    r = te.reduce_axis((0, k), "r")

    def element(i, j):
        return te.sum(a[i, r].astype(c_dtype) * b[r, j].astype(c_dtype), axis=r)

    return te.create_prim_func([a, b, te.compute((m, n), element, name="C")])


def packed_gemm(
    m: int,
    n: int,
    k: int,
    intrinsic: X86Intrinsic,
    *,
    tile: tuple[int, int] = (8, 2),
    block: tuple[int, int] = (1, 1),
) -> Schedule:
    """Schedule a GEMM of any size with B packed and a register tile of ``tile`` vectors.

    Parameters
    ----------
    m, n, k : int
        Sizes; padded with zeros to what the tile and the intrinsic divide.
    intrinsic : X86Intrinsic
        The dot product of the innermost loops.
    tile : tuple[int, int]
        Register tile: rows of A, vectors of ``intrinsic.lanes`` columns.
    block : tuple[int, int]
        Register tiles (rows, columns) that one task of the thread pool computes.
    """
    lanes, word = intrinsic.lanes, intrinsic.word
    rows, vectors = tile
    multiple = [rows * block[0], vectors * lanes * block[1], intrinsic.k]
    dtypes = (intrinsic.a_dtype, intrinsic.b_dtype, intrinsic.c_dtype)
    sch = Schedule(gemm(m, n, k, *dtypes))
    c = sch.get_sblock("C")
    if any(size % by for size, by in zip((m, n, k), multiple, strict=True)):
        sch.pad_einsum(c, multiple)
    panel = sch.cache_read(c, 1, "global")
    sch.transform_layout(
        panel, ("write", 0), lambda r, j: (j // lanes, r // word, j % lanes, r % word)
    )
    _pack(sch, panel, lanes, word)

    i, j, r = sch.get_loops(c)
    i0, i1, i2 = sch.split(i, [None, block[0], rows])
    j0, j1, j2, j3 = sch.split(j, [None, block[1], vectors, lanes])
    r0, r1, r2 = sch.split(r, [None, intrinsic.steps, word])
    sch.reorder(i0, j0, j1, i1, r0, i2, j2, r1, j3, r2)
    sch.parallel(sch.fuse(i0, j0))
    _write_back(sch, c, i1, lanes)
    start = sch.decompose_reduction(c, r0)
    *_, start_row, start_vector, start_lane = sch.get_loops(start)
    sch.vectorize(start_lane)
    for loop in (start_row, start_vector, i2, j2):
        sch.unroll(loop)
    sch.tensorize(r1 if intrinsic.steps > 1 else j3, intrinsic.name)
    return sch


def _pack(sch: Schedule, panel, lanes: int, word: int) -> None:
    """Order the packing loops so that LLVM turns them into interleaving shuffles.

    Vectorising them in TIR gathers byte by byte, eight times slower.
    """
    r, j = sch.get_loops(panel)
    j0, j1 = sch.split(j, [None, lanes])
    r0, r1 = sch.split(r, [None, word])
    sch.reorder(r0, j0, j1, r1)
    sch.parallel(r0)
    sch.unroll(r1)


def _write_back(sch: Schedule, c, loop, lanes: int) -> None:
    """Accumulate in a tile of its own, copied to C once it is done."""
    copy = sch.cache_write(c, 0, "global")
    sch.reverse_compute_at(copy, loop)
    row, column = sch.get_loops(copy)[-2:]
    vector, lane = sch.split(column, [None, lanes])
    sch.vectorize(lane)
    sch.unroll(vector)
    sch.unroll(row)


def compile_for(sch: Schedule, mcpu: str):
    """Build the module of ``sch`` for ``mcpu``; returns (executable, assembly)."""
    built = tvm.compile(sch.mod, Target({"kind": "llvm", "mcpu": mcpu, "num-cores": 2}))
    return built, built.mod.inspect_source("asm")


def run(built, a: np.ndarray, b: np.ndarray, c_dtype: str) -> np.ndarray:
    """Call a built GEMM on NumPy arrays."""
    c = tvm.runtime.tensor(np.zeros((a.shape[0], b.shape[1]), c_dtype))
    built["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), c)
    return c.numpy()
