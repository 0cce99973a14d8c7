"""The four operations on a tile that every tensor-core intrinsic describes.

A tile is a two-dimensional region of memory, or of a fragment: a buffer in a scope that belongs to
a warp, which keeps its logical shape (rows, columns) while each thread holds its part of it.
Each function returns (description, implementation); the description is the same for ``wmma`` and
``mma.sync``, the implementation is what ``emit`` writes, inside a block that states the access.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tvm.tirx import PrimFunc

from .build import T, prim_func

Functions = tuple[PrimFunc, PrimFunc]
Shape = tuple[int, int]


def fill(shape: Shape, dtype: str, scope: str, emit: Callable[[Any], None]) -> Functions:
    """Describe ``C[i, j] = 0``; ``emit`` gets C."""

    def declare() -> Any:
        return _tile("C", shape, dtype, scope)

    def describe() -> None:
        c = declare()
        with block(c), T.grid(*shape) as (i, j), T.sblock("fill"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.buffer_store(c, T.cast(T.int32(0), dtype), [vi, vj])

    def implement() -> None:
        c = declare()
        with block(c):
            emit(c)

    return prim_func(describe), prim_func(implement)


def copy(
    shape: Shape, dtype: str, scopes: tuple[str, str], emit: Callable[[Any, Any], None]
) -> Functions:
    """Describe ``target[i, j] = source[i, j]`` between two scopes; ``emit`` gets both."""

    def declare() -> tuple[Any, Any]:
        source, target = (
            _tile(name, shape, dtype, scope) for name, scope in zip("ST", scopes, strict=True)
        )
        return source, target

    def describe() -> None:
        source, target = declare()
        with block(target, source), T.grid(*shape) as (i, j), T.sblock("copy"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.buffer_store(target, source[vi, vj], [vi, vj])

    def implement() -> None:
        source, target = declare()
        with block(target, source):
            emit(source, target)

    return prim_func(describe), prim_func(implement)


def multiply(
    shape: tuple[int, int, int],
    dtypes: tuple[str, str],
    scopes: tuple[str, str, str],
    b_transposed: bool,
    emit: Callable[[Any, Any, Any], None],
) -> Functions:
    """Describe ``C[i, j] += A[i, r] · B[r, j]`` (``B[j, r]``); ``emit`` gets A, B and C.

    Parameters
    ----------
    shape : tuple[int, int, int]
        (m, n, k) of the tile.
    dtypes : tuple[str, str]
        Of the operands, and of C; operands are cast to the latter first.
    scopes : tuple[str, str, str]
        Of A, B and C.
    b_transposed : bool
        Whether B is stored as [n, k].
    """
    m, n, k = shape
    in_dtype, out_dtype = dtypes

    def declare() -> tuple[Any, Any, Any]:
        a = _tile("A", (m, k), in_dtype, scopes[0])
        b = _tile("B", (n, k) if b_transposed else (k, n), in_dtype, scopes[1])
        return a, b, _tile("C", (m, n), out_dtype, scopes[2])

    def describe() -> None:
        a, b, c = declare()
        with block(c, c, a, b), T.grid(m, n, k) as (i, j, r), T.sblock("multiply"):
            vi, vj, vr = T.axis.remap("SSR", [i, j, r])
            b_value = b[vj, vr] if b_transposed else b[vr, vj]
            product = T.cast(a[vi, vr], out_dtype) * T.cast(b_value, out_dtype)
            T.buffer_store(c, c[vi, vj] + product, [vi, vj])

    def implement() -> None:
        a, b, c = declare()
        with block(c, c, a, b):
            emit(a, b, c)

    return prim_func(describe), prim_func(implement)


def fragment_number(buffer: Any) -> Any:
    """Count the tiles of ``buffer``'s shape before it in its allocation, row of tiles by row."""
    rows, columns = buffer.shape
    pitch = buffer.strides[0]
    row, column = buffer.elem_offset // pitch // rows, buffer.elem_offset % pitch // columns
    return row * (pitch // columns) + column


def _tile(name: str, shape: Shape, dtype: str, scope: str) -> Any:
    """Declare an argument of any row pitch, at any offset."""
    strides = [T.int32(), T.int32()]
    return T.arg(
        name, T.Buffer(shape, dtype, strides=strides, scope=scope, align=64, offset_factor=1)
    )


@contextmanager
def block(writes: Any, *reads: Any) -> Iterator[None]:
    """Open the outermost block: it writes all of the first buffer and reads all of the others."""
    with T.sblock("root"):
        T.reads(*map(_all, reads))
        T.writes(_all(writes))
        yield


def _all(buffer: Any) -> Any:
    return buffer[tuple(slice(0, extent) for extent in buffer.shape)]
