"""Batch norms and other factors per channel, folded into the weights that come before them.

With its statistics constant, a batch norm is ``s · x + t`` by channel, ``s = γ / √(σ² + ε)`` and
``t = β − s · μ``. Behind a convolution or product with constant weights, ``s · (W ∗ x + b) + t`` is
``(s · W) ∗ x + (s · b + t)``: nothing is left of it but a bias. The factors are computed in float64
and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from .graph import Rewriter, constant, op_name, product_of, rewrite_main, shape_of, uses

_CONVOLUTIONS = tuple(f"relax.nn.conv{n}d{kind}" for n in (1, 2, 3) for kind in ("", "_transpose"))


def fold_scales(mod: tvm.IRModule) -> tvm.IRModule:
    """Fold batch norms, and factors and offsets per channel, of "main".

    Parameters
    ----------
    mod : IRModule
        Weights bound as constants. A batch norm that nothing comes before becomes a product and a
        sum; one whose statistics are no constants stays.
    """
    folded = rewrite_main(mod, _FoldScales(mod))
    return relax.transform.CanonicalizeBindings()(folded)


@mutator
class _FoldScales(Rewriter):
    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__(mod)
        self._uses = uses(mod["main"])

    def rewrite(self, call: Any) -> Any:
        name = op_name(call)
        if name == "relax.nn.batch_norm":
            return self._batch_norm(call)
        if name in ("relax.multiply", "relax.add"):
            return self._factor_or_offset(call, name == "relax.multiply")
        return call

    def _batch_norm(self, call: Any) -> Any:
        data, *parameters = call.args
        arrays = [array for p in parameters if (array := constant(p)) is not None]
        if len(arrays) < 4 or call.attrs.training:
            return call
        gamma, beta, mean, variance = (array.astype(np.float64) for array in arrays)
        scale = 1 / np.sqrt(variance + float(call.attrs.epsilon))
        if call.attrs.scale:
            scale = gamma * scale
        shift = (beta if call.attrs.center else 0) - mean * scale
        axis = int(call.attrs.axis) % len(shape_of(data) or (1, 1))
        return relax.Tuple([self._scaled(data, scale, shift, axis), *parameters[2:]])

    def _factor_or_offset(self, call: Any, is_factor: bool) -> Any:
        """``y · c`` or ``y + c`` behind weights; others are left alone."""
        data, factor = call.args
        if constant(data) is not None:
            data, factor = factor, data
        array, found = constant(factor), self._linear(data)
        if array is None or found is None or shape_of(call) != shape_of(data):
            return call
        channels = _per_channel(array, shape_of(data), found[1])
        if channels is None or (not is_factor and found[2] is None):
            return call
        one, zero = np.ones_like(channels), np.zeros_like(channels)
        scale, shift = (channels, zero) if is_factor else (one, channels)
        return self._scaled(data, scale, shift, found[1])

    def _scaled(self, data: Any, scale: np.ndarray, shift: np.ndarray, axis: int) -> Any:
        """Emit ``scale · data + shift``, by entries [C] of an axis."""
        rank, dtype = len(shape_of(data) or ()), str(data.ty.dtype)

        def spread(values: np.ndarray) -> Any:
            extents = [-1 if d == axis else 1 for d in range(rank)]
            return relax.const(values.reshape(extents).astype(dtype), dtype)

        found = self._linear(data)
        if found is None or found[1] != axis:
            return relax.op.add(self.emit(relax.op.multiply(data, spread(scale))), spread(shift))
        call, _, bias = found
        weight = _scaled_weight(call, scale)
        product = self.with_args(call, [call.args[0], weight])
        shift = shift if bias is None else shift + scale * bias
        return relax.op.add(product, spread(shift)) if shift.any() else product

    def _linear(self, data: Any) -> tuple[Any, int, np.ndarray | None] | None:
        """The product behind an expression, the axis of its channels, and the offset [C] on it."""
        node, bias = self._once(data), None
        if op_name(node) == "relax.add":
            inner, offset = node.args
            if constant(inner) is not None:
                inner, offset = offset, inner
            array, node = constant(offset), self._once(inner)
            axis = _channel_axis(node)
            if array is None or axis is None or shape_of(node) != shape_of(data):
                return None
            bias = _per_channel(array, shape_of(node), axis)
            if bias is None:
                return None
        axis = _channel_axis(node)
        return None if axis is None else (node, axis, bias)

    def _once(self, expr: Any) -> Any:
        """What a variable stands for that is read once; None if others read it too."""
        return None if self._uses[expr] > 1 else self.value(expr)


def _channel_axis(call: Any) -> int | None:
    """The axis of a result along which weights differ; None where there are no constant weights."""
    name = op_name(call)
    if name not in (*_CONVOLUTIONS, "relax.matmul") or constant(call.args[1]) is None:
        return None
    if name == "relax.matmul":
        rank = len(shape_of(call.args[1]) or ())
        return len(shape_of(call) or ()) - 1 if rank >= 2 else None
    if name.endswith("_transpose") and int(call.attrs.groups) != 1:
        return None
    layout = str(call.attrs.out_layout or call.attrs.data_layout)
    return layout.index("C") if layout.isalpha() else None


def _scaled_weight(call: Any, scale: np.ndarray) -> Any:
    weight = constant(call.args[1])
    assert weight is not None
    if op_name(call) == "relax.matmul":
        axis = weight.ndim - 1
    else:
        axis = str(call.attrs.kernel_layout).index("O")
    extents = [-1 if d == axis else 1 for d in range(weight.ndim)]
    return product_of(weight, scale.reshape(extents))


def _per_channel(array: np.ndarray, shape: tuple[int, ...] | None, axis: int) -> np.ndarray | None:
    """A constant as float64 [C], if it varies along one axis of a shape only; None otherwise."""
    if shape is None or array.ndim > len(shape) or array.dtype.kind != "f":
        return None
    extents = (1,) * (len(shape) - array.ndim) + array.shape
    if any(extent != 1 and d != axis for d, extent in enumerate(extents)):
        return None
    return np.broadcast_to(array.astype(np.float64).reshape(-1), (shape[axis],)).copy()
