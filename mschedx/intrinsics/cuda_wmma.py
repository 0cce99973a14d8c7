"""The functions behind ``nvcuda::wmma``: fill, load, multiply-accumulate and store one fragment.

A load's address must be 32-byte aligned and its row pitch a multiple of 16 bytes.
"""

from __future__ import annotations

from typing import Any

from . import cuda_tile
from .build import T
from .cuda_tile import Functions, fragment_number

Shape = tuple[int, int, int]
SCOPES = {"a": "wmma.matrix_a", "b": "wmma.matrix_b", "c": "wmma.accumulator"}


def fill(shape: Shape, dtype: str) -> Functions:
    """Set an accumulator to zero."""

    def emit(c: Any) -> None:
        T.evaluate(T.tvm_fill_fragment(c.data, *shape, fragment_number(c), T.float32(0)))

    return cuda_tile.fill(shape[:2], dtype, SCOPES["c"], emit)


def load(shape: Shape, dtype: str, operand: str, transposed: bool, scope: str) -> Functions:
    """Load operand "a" or "b" from memory of ``scope``; a transposed B is stored as [n, k]."""
    m, n, k = shape
    tile = (m, k) if operand == "a" else (n, k) if transposed else (k, n)
    layout = "col_major" if transposed else "row_major"

    def emit(source: Any, fragment: Any) -> None:
        pointer, pitch = source.access_ptr("r", ptr_type=dtype), source.strides[0]
        number = fragment_number(fragment)
        T.evaluate(T.tvm_load_matrix_sync(fragment.data, *shape, number, pointer, pitch, layout))

    return cuda_tile.copy(tile, dtype, (scope, SCOPES[operand]), emit)


def multiply(shape: Shape, dtypes: tuple[str, str], b_transposed: bool) -> Functions:
    """Add the product of two fragments to an accumulator."""

    def emit(a: Any, b: Any, c: Any) -> None:
        fragments = [item for one in (c, a, b, c) for item in (one.data, fragment_number(one))]
        T.evaluate(T.tvm_mma_sync(*fragments))

    scopes = (SCOPES["a"], SCOPES["b"], SCOPES["c"])
    return cuda_tile.multiply(shape, dtypes, scopes, b_transposed, emit)


def store(shape: Shape, dtype: str, scope: str) -> Functions:
    """Store an accumulator to memory of ``scope``."""

    def emit(fragment: Any, target: Any) -> None:
        pointer, pitch = target.access_ptr("w", ptr_type=dtype), target.strides[0]
        number = fragment_number(fragment)
        T.evaluate(
            T.tvm_store_matrix_sync(fragment.data, *shape, number, pointer, pitch, "row_major")
        )

    return cuda_tile.copy(shape[:2], dtype, (SCOPES["c"], scope), emit)
