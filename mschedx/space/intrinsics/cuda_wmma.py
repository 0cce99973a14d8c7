"""The functions behind ``nvcuda::wmma``: fill, load, multiply-accumulate and store one fragment.

A fragment buffer keeps its logical shape (rows, columns) in the scopes ``wmma.matrix_a``,
``wmma.matrix_b`` and ``wmma.accumulator``; TVM counts fragments in it, row of fragments by row.
Each function here returns (description, implementation) for ``TensorIntrin.register``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm.tirx import PrimFunc

from mschedx.space.intrinsics.build import T, prim_func

Functions = tuple[PrimFunc, PrimFunc]
Shape = tuple[int, int, int]


def _matrix(name: str, rows: int, columns: int, dtype: str, scope: str) -> Any:
    """Declare a two-dimensional argument with any row pitch and any offset."""
    strides = [T.int32(), T.int32()]
    buffer = T.Buffer(
        (rows, columns), dtype, strides=strides, scope=scope, align=64, offset_factor=1
    )
    return T.arg(name, buffer)


def _fragment_index(buffer: Any, rows: int, columns: int) -> Any:
    """Number of the fragment that ``buffer`` starts at within its allocation."""
    pitch = buffer.strides[0]
    row, column = buffer.elem_offset // pitch // rows, buffer.elem_offset % pitch // columns
    return row * (pitch // columns) + column


def _all(buffer: Any) -> Any:
    return buffer[tuple(slice(0, extent) for extent in buffer.shape)]


def _pair(describe: Callable[[], None], implement: Callable[[], None]) -> Functions:
    return prim_func(describe), prim_func(implement)


def copy_description(destination: Any, source: Any, rows: int, columns: int) -> None:
    """State ``destination[i, j] = source[i, j]`` over one tile."""
    with T.sblock("root"):
        T.reads(_all(source))
        T.writes(_all(destination))
        with T.grid(rows, columns) as (i, j), T.sblock("copy"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.buffer_store(destination, source[vi, vj], [vi, vj])


def fill(shape: Shape, dtype: str) -> Functions:
    """Set an accumulator fragment to zero."""
    m, n, k = shape

    def describe() -> None:
        c = _matrix("C", m, n, dtype, "wmma.accumulator")
        with T.sblock("root"):
            T.reads()
            T.writes(_all(c))
            with T.grid(m, n) as (i, j), T.sblock("fill"):
                vi, vj = T.axis.remap("SS", [i, j])
                T.buffer_store(c, T.cast(T.int32(0), dtype), [vi, vj])

    def implement() -> None:
        c = _matrix("C", m, n, dtype, "wmma.accumulator")
        with T.sblock("root"):
            T.reads()
            T.writes(_all(c))
            index = _fragment_index(c, m, n)
            T.evaluate(T.tvm_fill_fragment(c.data, m, n, k, index, T.float32(0)))

    return _pair(describe, implement)


def load(shape: Shape, dtype: str, operand: str, transposed: bool, scope: str) -> Functions:
    """Load operand ``"a"`` or ``"b"`` from shared memory; a transposed B is stored [n, k]."""
    m, n, k = shape
    rows, columns = (m, k) if operand == "a" else (k, n)
    if transposed:
        rows, columns = columns, rows
    layout = "col_major" if transposed else "row_major"

    def arguments() -> tuple[Any, Any]:
        source = _matrix("S", rows, columns, dtype, scope)
        return source, _matrix("F", rows, columns, dtype, f"wmma.matrix_{operand}")

    def describe() -> None:
        source, fragment = arguments()
        copy_description(fragment, source, rows, columns)

    def implement() -> None:
        source, fragment = arguments()
        with T.sblock("root"):
            T.reads(_all(source))
            T.writes(_all(fragment))
            index = _fragment_index(fragment, rows, columns)
            pointer, pitch = source.access_ptr("r", ptr_type=dtype), source.strides[0]
            T.evaluate(
                T.tvm_load_matrix_sync(fragment.data, m, n, k, index, pointer, pitch, layout)
            )

    return _pair(describe, implement)


def store(shape: Shape, dtype: str, scope: str) -> Functions:
    """Store an accumulator fragment to shared or global memory."""
    m, n, k = shape

    def arguments() -> tuple[Any, Any]:
        fragment = _matrix("F", m, n, dtype, "wmma.accumulator")
        return fragment, _matrix("D", m, n, dtype, scope)

    def describe() -> None:
        fragment, destination = arguments()
        copy_description(destination, fragment, m, n)

    def implement() -> None:
        fragment, destination = arguments()
        with T.sblock("root"):
            T.reads(_all(fragment))
            T.writes(_all(destination))
            index = _fragment_index(fragment, m, n)
            pointer, pitch = destination.access_ptr("w", ptr_type=dtype), destination.strides[0]
            T.evaluate(
                T.tvm_store_matrix_sync(fragment.data, m, n, k, index, pointer, pitch, "row_major")
            )

    return _pair(describe, implement)


def multiply(shape: Shape, in_dtype: str, out_dtype: str, b_transposed: bool) -> Functions:
    """Add the product of two fragments to an accumulator."""
    m, n, k = shape
    b_rows, b_columns = (n, k) if b_transposed else (k, n)

    def arguments() -> tuple[Any, Any, Any]:
        a = _matrix("A", m, k, in_dtype, "wmma.matrix_a")
        b = _matrix("B", b_rows, b_columns, in_dtype, "wmma.matrix_b")
        return a, b, _matrix("C", m, n, out_dtype, "wmma.accumulator")

    def access(a: Any, b: Any, c: Any) -> None:
        T.reads(_all(c), _all(a), _all(b))
        T.writes(_all(c))

    def describe() -> None:
        a, b, c = arguments()
        with T.sblock("root"):
            access(a, b, c)
            with T.grid(m, n, k) as (i, j, r), T.sblock("multiply"):
                vi, vj, vr = T.axis.remap("SSR", [i, j, r])
                b_value = b[vj, vr] if b_transposed else b[vr, vj]
                product = T.cast(a[vi, vr], out_dtype) * T.cast(b_value, out_dtype)
                T.buffer_store(c, c[vi, vj] + product, [vi, vj])

    def implement() -> None:
        a, b, c = arguments()
        with T.sblock("root"):
            access(a, b, c)
            c_index = _fragment_index(c, m, n)
            a_index, b_index = _fragment_index(a, m, k), _fragment_index(b, b_rows, b_columns)
            T.evaluate(
                T.tvm_mma_sync(
                    c.data, c_index, a.data, a_index, b.data, b_index, c.data, c_index
                )
            )

    return _pair(describe, implement)
