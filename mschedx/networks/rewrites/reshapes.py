"""Reshapes moved behind what does not care about shape.

A linear layer on [N, length, width] is exported as a reshape to [N · length, width], a product, and
a reshape back; an activation, a residual sum and a normalisation follow on three axes. With the
reshapes moved behind these, all of them run on the product's own two axes, so that bias and
activation end in its write-back and loops stay vectors. Reshapes that meet cancel out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from .graph import (
    BINARY,
    REDUCTIONS,
    UNARY,
    Rewriter,
    constant,
    op_name,
    positive_axes,
    reshaped,
    rewrite_main,
    shape_of,
    transposed_axes,
)

Shape = tuple[int, ...]

# Along the last axis, however many axes there are before it.
_NORMALISATIONS: dict[str, Callable[..., Any]] = {
    "relax.nn.softmax": lambda args, attrs: relax.op.nn.softmax(*args, axis=-1),
    "relax.nn.rms_norm": lambda args, attrs: relax.op.nn.rms_norm(
        *args, axes=[-1], epsilon=attrs.epsilon
    ),
    "relax.nn.layer_norm": lambda args, attrs: relax.op.nn.layer_norm(
        *args, axes=[-1], epsilon=attrs.epsilon, center=attrs.center, scale=attrs.scale
    ),
}


def sink_reshapes(mod: tvm.IRModule) -> tvm.IRModule:
    """Move the reshapes of "main" towards its end; join reshapes, and transpositions, that meet."""
    sunk = rewrite_main(mod, _SinkReshapes(mod))
    return relax.transform.CanonicalizeBindings()(sunk)


@mutator
class _SinkReshapes(Rewriter):
    def rewrite(self, call: Any) -> Any:
        name, shape = op_name(call), shape_of(call)
        if shape is None:
            return call
        if name in ("relax.reshape", "relax.expand_dims", "relax.squeeze", "relax.flatten"):
            return self._joined(call, shape)
        if name == "relax.permute_dims":
            return self._turned(call, len(shape))
        if name in UNARY:
            return self._behind(call, shape)
        if name in BINARY:
            return self._binary(call, shape)
        if name in _NORMALISATIONS or name in REDUCTIONS:
            return self._along_last(call, name, shape)
        return call

    def _joined(self, call: Any, shape: Shape) -> Any:
        """One reshape in place of two, and none where nothing changes."""
        inner = self._source(call.args[0])
        if shape_of(inner) == shape:
            return inner
        return reshaped(inner, shape)

    def _turned(self, call: Any, rank: int) -> Any:
        """One transposition in place of two, and none where they undo each other."""
        node = self.value(call.args[0])
        if op_name(node) != "relax.permute_dims":
            return call
        first, second = transposed_axes(node, rank), transposed_axes(call, rank)
        joined = [first[axis] for axis in second]
        if joined == list(range(rank)):
            return node.args[0]
        return relax.op.permute_dims(node.args[0], joined)

    def _behind(self, call: Any, shape: Shape) -> Any:
        """``f(reshape(x))`` as ``reshape(f(x))``, the other arguments as they are."""
        source = self._source(call.args[0])
        if source.same_as(call.args[0]):
            return call
        return reshaped(self.with_args(call, [source, *call.args[1:]]), shape)

    def _along_last(self, call: Any, name: str, shape: Shape) -> Any:
        """A normalisation or reduction of the last axis, if the reshape left that as it is."""
        source = self._source(call.args[0])
        before, after = shape_of(source), shape_of(call.args[0])
        if source.same_as(call.args[0]) or not before or not after or before[-1] != after[-1]:
            return call
        attrs = call.attrs
        reduction = name in REDUCTIONS
        axes = attrs.axes if name.endswith("_norm") else attrs.axis
        last = positive_axes(axes, len(after)) == [len(after) - 1]
        if not last or (reduction and not attrs.keepdims):
            return call
        if reduction:
            found = REDUCTIONS[name](source, axis=-1, keepdims=True)
        else:
            found = _NORMALISATIONS[name]([source, *call.args[1:]], attrs)
        return reshaped(self.emit(found), shape)

    def _binary(self, call: Any, shape: Shape) -> Any:
        """Both sides on the shape from which one of them was reshaped, where they fit there."""
        for here, there in ((0, 1), (1, 0)):
            source = self._source(call.args[here])
            before = shape_of(source)
            if source.same_as(call.args[here]) or before is None:
                continue
            if shape_of(call.args[here]) != shape:
                continue
            other = self._fitting(call.args[there], shape, before)
            if other is None:
                continue
            args = [source, other] if here == 0 else [other, source]
            return reshaped(self.with_args(call, args), shape)
        return call

    def _fitting(self, other: Any, shape: Shape, before: Shape) -> Any:
        """The other side of ``reshape(x: before) ∘ other`` for ``x ∘ …``; None if it has none."""
        extents = shape_of(other)
        if extents is None:
            return None
        array = constant(other)
        if math.prod(extents) == 1 and array is not None:
            return relax.const(array.reshape(()), str(other.ty.dtype))
        source = self._source(other)
        if shape_of(source) == before and extents == shape:
            return source
        kept = _common_tail(shape, before)
        if len(extents) <= kept:
            return other
        if array is not None and math.prod(extents) == math.prod(extents[len(extents) - kept :]):
            return relax.const(array.reshape(extents[len(extents) - kept :]), str(other.ty.dtype))
        if extents == shape and _without_units(shape) == _without_units(before):
            return self.emit(reshaped(other, before))
        return None

    def _source(self, expr: Any) -> Any:
        """What a reshaped tensor was before; the expression itself where it was not."""
        node = self.value(expr)
        return node.args[0] if op_name(node) == "relax.reshape" else expr


def _common_tail(a: Shape, b: Shape) -> int:
    """How many trailing extents two shapes share."""
    count = 0
    for x, y in zip(reversed(a), reversed(b)):
        if x != y:
            break
        count += 1
    return count


def _without_units(shape: Shape) -> Shape:
    return tuple(extent for extent in shape if extent != 1)
