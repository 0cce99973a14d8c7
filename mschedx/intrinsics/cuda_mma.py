"""The functions behind ``mma.sync``: fill, load, multiply-accumulate and store one tile.

A tile is 16 × 16 × k: two instructions m16n8k``k`` side by side. Fragments live in TVM's scopes
``m16n8k8.*``, which lowering turns into a thread's registers, a 32nd of the allocation each; that
wants allocations (a warp's tiles) of 32 rows × 8 columns and multiples where k is along the
columns, 8 × 32 where B is stored [k, n], and 16 × 8 for C. Everything here reaches the registers
through pointers, so only the order of registers matters, never TVM's layout of those scopes.

Symbols: a register is 32 bits and holds ``width`` elements along k; a matrix is 8 rows of 4
registers, as ``ldmatrix`` loads it; the 16 rows of a tile are two matrices high (``half``) and the
tile is ``chunks`` matrices along k.

References
----------
PTX ISA, "Matrix fragments for mma.m16n8k4 … mma.m16n8k32" and "ldmatrix".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import cuda_tile
from .build import T
from .cuda_sources import call, call_value
from .cuda_tile import Functions, fragment_number

WARP = 32
# Elements of a 16 × 16 accumulator that a thread holds.
ACCUMULATORS = 8
C_SCOPE = "m16n8k8.matrixC"
_ALONG_K, _ALONG_N = "m16n8k8.matrixA", "m16n8k8.matrixB"
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "int8": 1}
_PTX = {
    "float16": "fp16",
    "bfloat16": "bf16",
    "float32": "fp32",
    "int8": "int8",
    "int32": "int32",
}


@dataclass(frozen=True, slots=True)
class Operand:
    """A tile of A or B.

    Parameters
    ----------
    name : str
        "a" or "b".
    k : int
        Reduction length of the instruction.
    dtype : str
        Element type in memory; float32 is read as tf32 (the 13 low bits of the fraction are cut).
    transposed : bool
        Whether B is stored as [n, k]; never for A.
    """

    name: str
    k: int
    dtype: str
    transposed: bool = False

    @property
    def width(self) -> int:
        """Elements of a register."""
        return 4 // _BYTES[self.dtype]

    @property
    def chunks(self) -> int:
        """Matrices along k."""
        return self.k // (4 * self.width)

    @property
    def size(self) -> int:
        """Elements that a thread holds."""
        return 2 * self.chunks * self.width

    @property
    def rows_along_k(self) -> bool:
        """Whether a row in memory runs along k, as a row of ``ldmatrix`` does."""
        return self.name == "a" or self.transposed

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns in memory."""
        return (16, self.k) if self.rows_along_k else (self.k, 16)

    @property
    def scope(self) -> str:
        """Scope of its fragments."""
        return _ALONG_K if self.rows_along_k else _ALONG_N

    def place(self, matrix: Any) -> tuple[Any, Any]:
        """(half, chunk) of the matrix that the instruction expects in register ``matrix``.

        The halves of A alternate; those of B belong to one instruction each.
        """
        if self.name == "a":
            return matrix % 2, matrix // 2
        return matrix // self.chunks, matrix % self.chunks


def _registers(buffer: Any, size: int, access: int) -> Any:
    """Pointer to the registers of the tile ``buffer``; ``access`` is 1 to read, 2 to write."""
    offset = fragment_number(buffer) * size
    marker = T.type_annotation(buffer.dtype)
    return T.tvm_access_ptr(marker, buffer.data, offset, size, access)


def fill(dtype: str) -> Functions:
    """Set an accumulator to zero."""

    def emit(c: Any) -> None:
        call("mschedx_mma_fill", _registers(c, ACCUMULATORS, 2))

    return cuda_tile.fill((16, 16), dtype, C_SCOPE, emit)


def load(operand: Operand, scope: str) -> Functions:
    """Load a tile from memory of ``scope``, whose rows must be 16-byte aligned.

    ``ldmatrix`` where it serves: rows along k, or 16-bit elements, which it can transpose.
    Element by element for int8 and float32 stored as [k, n].
    """
    by_element = not operand.rows_along_k and operand.width != 2

    def emit(source: Any, fragment: Any) -> None:
        if by_element:
            registers = _registers(fragment, operand.size, 2)
            function = f"mschedx_mma_gather_{operand.width}x{operand.chunks}"
            call(function, registers, source.access_ptr("r"), source.strides[0])
            return
        with T.thread_binding(0, WARP, "threadIdx.x") as thread:
            T.evaluate(
                T.ptx_legacy.ldmatrix(
                    not operand.rows_along_k,
                    2 * operand.chunks,
                    ".b16",
                    fragment.data,
                    fragment_number(fragment) * operand.size,
                    source.access_ptr("r"),
                    _row_offset(operand, thread, source.strides[0]),
                    dtype=operand.dtype,
                )
            )

    return cuda_tile.copy(operand.shape, operand.dtype, (scope, operand.scope), emit)


def _row_offset(operand: Operand, thread: Any, pitch: Any) -> Any:
    """Offset in elements of the row whose address ``thread`` gives to ``ldmatrix``."""
    half, chunk = operand.place(thread // 8 % (2 * operand.chunks))
    if operand.rows_along_k:
        return (half * 8 + thread % 8) * pitch + chunk * (4 * operand.width)
    return (chunk * 8 + thread % 8) * pitch + half * 8


def multiply(a: Operand, b: Operand, out_dtype: str) -> Functions:
    """Add the product of two tiles to a third, by two instructions."""
    in_type = "tf32" if a.dtype == "float32" else _PTX[a.dtype]

    def emit(x: Any, y: Any, z: Any) -> None:
        for half in range(2):
            T.evaluate(
                T.ptx_legacy.mma(
                    f"m16n8k{a.k}",
                    "row",
                    "col",
                    in_type,
                    in_type,
                    _PTX[out_dtype],
                    x.data,
                    fragment_number(x) * a.size,
                    y.data,
                    fragment_number(y) * b.size + half * (b.size // 2),
                    z.data,
                    fragment_number(z) * ACCUMULATORS + half * (ACCUMULATORS // 2),
                    False,
                    dtype=out_dtype,
                )
            )

    scopes = (a.scope, b.scope, C_SCOPE)
    return cuda_tile.multiply((16, 16, a.k), (a.dtype, out_dtype), scopes, b.transposed, emit)


def store(dtype: str, scope: str) -> Functions:
    """Store an accumulator to memory of ``scope``.

    To shared memory by plain stores rather than through a pointer: TVM lets the destination share
    memory with operands of another type, and a pointer to such a buffer does not compile.
    """

    def emit(fragment: Any, target: Any) -> None:
        registers = _registers(fragment, ACCUMULATORS, 1)
        if scope == "global":
            call("mschedx_mma_store", target.access_ptr("w"), target.strides[0], registers)
            return
        with T.thread_binding(0, WARP, "threadIdx.x") as thread, T.unroll(ACCUMULATORS) as i:
            value = call_value("mschedx_mma_register", dtype, registers, i)
            T.buffer_store(target, value, list(_result_place(thread, i)))

    return cuda_tile.copy((16, 16), dtype, (C_SCOPE, scope), emit)


def _result_place(thread: Any, i: Any) -> tuple[Any, Any]:
    """Row and column of the result that ``thread`` holds in its register ``i``."""
    return i // 2 % 2 * 8 + thread // 4, i // 4 * 8 + thread % 4 * 2 + i % 2
