"""Products and convolutions of torch in Relax, summed in the dtype that torch sums in.

TVM's importer sums all of them in float32, whatever the operands are, and leaves the result so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax


def sums_in(dtype: str) -> str:
    """The dtype that torch sums products of a dtype in."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def product(x: Any, y: Any, emit: Callable[[Any], Any]) -> Any:
    """A matrix product, in the dtype it is summed in."""
    return emit(relax.op.matmul(x, y, out_dtype=sums_in(str(x.ty.dtype))))


def stored(x: Any, dtype: str, emit: Callable[[Any], Any]) -> Any:
    """A tensor in a dtype."""
    return x if str(x.ty.dtype) == dtype else emit(relax.op.astype(x, dtype))


def _multiplied(node: Any, importer: Any) -> Any:
    """``mm(x, y)``, ``bmm(x, y)``."""
    x, y = importer.retrieve_args(node)[:2]
    emit = importer.block_builder.emit
    return stored(product(x, y, emit), str(x.ty.dtype), emit)


def _added(node: Any, importer: Any) -> Any:
    """``addmm(bias, x, y)``: β bias + α x y, rounded once."""
    bias, x, y = importer.retrieve_args(node)[:3]
    emit = importer.block_builder.emit
    found = _scaled(product(x, y, emit), node.kwargs.get("alpha", 1), emit)
    summed = str(found.ty.dtype)
    beta = node.kwargs.get("beta", 1)
    if beta != 0:
        bias = _scaled(stored(bias, summed, emit), beta, emit)
        found = emit(relax.op.add(bias, found))
    return stored(found, str(x.ty.dtype), emit)


def _scaled(x: Any, factor: Any, emit: Callable[[Any], Any]) -> Any:
    if factor == 1:
        return x
    return emit(relax.op.multiply(x, relax.const(factor, str(x.ty.dtype))))


def _convolved(node: Any, importer: Any) -> Any:
    """``convolution``, transposed ones too, in one to three axes, channels second."""
    given = list(importer.retrieve_args(node))
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = given
    emit = importer.block_builder.emit
    axes = len(x.ty.shape) - 2
    kind = f"conv{axes}d_transpose" if transposed else f"conv{axes}d"
    letters = {1: "W", 2: "HW", 3: "DHW"}[axes]
    dtype = str(x.ty.dtype)
    found = emit(
        getattr(relax.op.nn, kind)(
            x,
            weight,
            strides=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            data_layout=f"NC{letters}",
            kernel_layout=f"{'IO' if transposed else 'OI'}{letters}",
            out_dtype=sums_in(dtype),
            **({"output_padding": output_padding} if transposed else {}),
        )
    )
    if bias is not None:
        shape: Any = (1, -1, *[1] * axes)
        shift = relax.op.reshape(stored(bias, str(found.ty.dtype), emit), shape)
        found = emit(relax.op.add(found, shift))
    return stored(found, dtype, emit)


CONTRACTIONS = {
    "addmm.default": _added,
    "bmm.default": _multiplied,
    "convolution.default": _convolved,
    "mm.default": _multiplied,
}
"""Converters, as :data:`.operators.CONVERTERS`."""
