"""Convolutions with their channels last, and the transpositions of that moved out of the way.

A convolution's register tile holds some pixels by some vectors of output channels. With channels
last such a tile is written in whole vectors, and bias, activation and residual are read in them;
with channels first, ``[N, C, H, W]``, every lane of it goes to another image. What follows a
convolution runs on channels last as well, so that transpositions cancel between two of them and
are left where the network begins and ends, and around operators that need channels first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from .graph import (
    BINARY,
    REDUCTIONS,
    UNARY,
    Rewriter,
    constant,
    constant_of,
    op_name,
    positive_axes,
    reshaped,
    rewrite_main,
    shape_of,
    transposed_axes,
)

_SPATIAL = {3: "W", 4: "HW", 5: "DHW"}
_CONVOLUTIONS: dict[str, Callable[..., Any]] = {
    "relax.nn.conv1d": relax.op.nn.conv1d,
    "relax.nn.conv2d": relax.op.nn.conv2d,
    "relax.nn.conv3d": relax.op.nn.conv3d,
}
_POOLS: dict[str, Callable[..., Any]] = {
    f"relax.nn.{name}": getattr(relax.op.nn, name)
    for name in ("max_pool2d", "avg_pool2d", "max_pool3d", "avg_pool3d")
}
FEWEST_CHANNELS = 8
"""Half a vector of 512 bits: no fewer output channels fill the lanes of a tile."""


def turn_channels(mod: tvm.IRModule) -> tvm.IRModule:
    """Turn the convolutions of "main" to channels last, and what follows them.

    Parameters
    ----------
    mod : IRModule
        Convolutions of floats, ``[N, C, ...]`` with constant weights ``[O, I, ...]``, are turned
        where the output channels are a multiple of 8, or at least three quarters of one: channels
        of zeros are added then, and cut off again. Others stay.
    """
    turned = rewrite_main(mod, _ChannelsLast(mod))
    # What several convolutions read was turned for each.
    turned = relax.transform.EliminateCommonSubexpr()(turned)
    return relax.transform.CanonicalizeBindings()(turned)


@mutator
class _ChannelsLast(Rewriter):
    def rewrite(self, call: Any) -> Any:
        name, shape = op_name(call), shape_of(call)
        if shape is None or not call.args:
            return call
        if name in _CONVOLUTIONS:
            return self._convolution(call) if _is_plain(call) else call
        if name in BINARY:
            return self._binary(call, len(shape))
        if name == "relax.concat":
            return self._concat(call, len(shape))
        source = self._source(call.args[0])
        if source is None:
            return call
        if name == "relax.permute_dims" and transposed_axes(call, len(shape)) == to_last(
            len(shape)
        ):
            return source
        if name in UNARY:
            return self._first(self.with_args(call, [source, *call.args[1:]]), len(shape))
        if name in _POOLS:
            return self._pool(call, source, len(shape))
        if name in REDUCTIONS:
            return self._reduction(call, source)
        if name == "relax.reshape" and _moves_units(shape_of(source)):
            return reshaped(source, shape)
        return call

    def _convolution(self, call: Any) -> Any:
        weight = constant(call.args[1])
        assert weight is not None
        spatial = _SPATIAL[weight.ndim]
        source = self._source(call.args[0])
        if source is None:
            source = self.emit(relax.op.permute_dims(call.args[0], to_last(weight.ndim)))
        kernel = weight.transpose([*range(2, weight.ndim), 1, 0])
        outputs = weight.shape[0]
        if more := -outputs % FEWEST_CHANNELS:
            kernel = np.pad(kernel, [(0, 0)] * (weight.ndim - 1) + [(0, more)])
        found = _CONVOLUTIONS[op_name(call)](
            source,
            constant_of(kernel, str(weight.dtype)),
            strides=_integers(call.attrs.strides),
            padding=_integers(call.attrs.padding),
            dilation=_integers(call.attrs.dilation),
            groups=int(call.attrs.groups),
            data_layout=f"N{spatial}C",
            kernel_layout=f"{spatial}IO",
            out_dtype=call.attrs.out_dtype,
        )
        found = self.emit(found)
        if more:
            cut: list[Any] = [[weight.ndim - 1], [0], [outputs]]
            found = self.emit(relax.op.strided_slice(found, *cut))
        return self._first(found, weight.ndim)

    def _binary(self, call: Any, rank: int) -> Any:
        """``turn(x) ∘ y`` as ``turn(x ∘ y')``, where ``y`` is turned itself or a constant."""
        sources = [self._source(arg) for arg in call.args]
        if all(source is None for source in sources):
            return call
        args = [
            _turned_constant(arg, rank) if source is None else source
            for arg, source in zip(call.args, sources)
        ]
        if any(arg is None or len(shape_of(arg) or ()) not in (0, rank) for arg in args):
            return call
        return self._first(self.with_args(call, args), rank)

    def _concat(self, call: Any, rank: int) -> Any:
        parts = self.value(call.args[0])
        if not isinstance(parts, relax.Tuple) or call.attrs.axis is None:
            return call
        sources: list[Any] = [self._source(part) for part in parts.fields]
        if None in sources:
            return call
        axis = to_first(rank)[int(call.attrs.axis) % rank]
        return self._first(self.emit(relax.op.concat(sources, axis)), rank)

    def _pool(self, call: Any, source: Any, rank: int) -> Any:
        attrs = call.attrs
        if str(attrs.layout) != f"NC{_SPATIAL[rank]}":
            return call
        found = _POOLS[op_name(call)](
            source,
            pool_size=_integers(attrs.pool_size),
            strides=_integers(attrs.strides),
            padding=_integers(attrs.padding),
            dilation=_integers(attrs.dilation),
            ceil_mode=bool(attrs.ceil_mode),
            count_include_pad=bool(attrs.count_include_pad),
            layout=f"N{_SPATIAL[rank]}C",
        )
        return self._first(self.emit(found), rank)

    def _reduction(self, call: Any, source: Any) -> Any:
        rank = len(shape_of(source) or ())
        axes = positive_axes(call.attrs.axis, rank)
        axes = list(range(rank)) if axes is None else axes
        keepdims, places = bool(call.attrs.keepdims), to_first(rank)
        reduced = sorted(places[axis] for axis in axes)
        found = self.emit(REDUCTIONS[op_name(call)](source, axis=reduced, keepdims=keepdims))
        if keepdims:
            return self._first(found, rank)
        kept = [places[axis] for axis in range(rank) if axis not in axes]
        order = [sorted(kept).index(place) for place in kept]
        return found if order == sorted(order) else relax.op.permute_dims(found, order)

    def _source(self, expr: Any) -> Any | None:
        """The tensor with channels last that an expression is with channels first; else None."""
        node = self.value(expr)
        if op_name(node) != "relax.permute_dims":
            return None
        rank = len(shape_of(node) or ())
        turned = rank in _SPATIAL and transposed_axes(node, rank) == to_first(rank)
        return node.args[0] if turned else None

    def _first(self, expr: Any, rank: int) -> Any:
        """Not emitted yet."""
        return relax.op.permute_dims(expr, to_first(rank))


def to_last(rank: int) -> list[int]:
    """Axes of the transposition from channels first to channels last."""
    return [0, *range(2, rank), 1]


def to_first(rank: int) -> list[int]:
    """Axes of the transposition from channels last to channels first."""
    return [0, rank - 1, *range(1, rank - 1)]


def _integers(values: Any) -> Any:
    return [int(value) for value in values]


def _is_plain(call: Any) -> bool:
    weight, attrs = constant(call.args[1]), call.attrs
    if weight is None or weight.dtype.kind != "f" or not _fills_vectors(weight.shape[0], call):
        return False
    spatial = _SPATIAL[weight.ndim]
    first = f"NC{spatial}"
    layouts = (str(attrs.data_layout), str(attrs.out_layout or first), str(attrs.kernel_layout))
    return layouts == (first, first, f"OI{spatial}")


def _fills_vectors(outputs: int, call: Any) -> bool:
    """Whether the output channels are whole vectors, or nearly so and in one group."""
    whole = -(-outputs // FEWEST_CHANNELS) * FEWEST_CHANNELS
    return outputs == whole or (int(call.attrs.groups) == 1 and 4 * outputs >= 3 * whole)


def _turned_constant(expr: Any, rank: int) -> Any | None:
    """A constant as it is read beside a tensor of some rank with channels last; else None."""
    array = constant(expr)
    if array is None:
        return None
    dtype = str(expr.ty.dtype)
    if array.size == 1:
        return relax.const(array.reshape(()), dtype)
    whole = array.reshape((1,) * (rank - array.ndim) + array.shape)
    return constant_of(whole.transpose(to_last(rank)), dtype)


def _moves_units(shape: tuple[int, ...] | None) -> bool:
    """Whether channels last and first are the same order of elements."""
    return shape is not None and (math.prod(shape[1:-1]) == 1 or shape[-1] == 1)
