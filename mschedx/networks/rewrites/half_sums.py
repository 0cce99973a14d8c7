"""Half precision in Relax, computed as torch does: in float32, rounded once to what is stored.

Relax sums and takes functions in the dtype of the operands, where it knows bfloat16 at all; a file
in ONNX does not say how. What torch networks are imported to computes so already
(:mod:`..contractions`, :mod:`..narrow_floats`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from .casts import NARROW
from .graph import Rewriter, op_name, rewrite_main

_CONTRACTIONS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "relax.matmul": (relax.op.matmul, ()),
    **{
        f"relax.nn.conv{axes}d{kind}": (
            getattr(relax.op.nn, f"conv{axes}d{kind}"),
            (
                *("strides", "padding", "dilation", "groups"),
                *("data_layout", "kernel_layout", "out_layout"),
                *(("output_padding",) if kind else ()),
            ),
        )
        for axes in (1, 2, 3)
        for kind in ("", "_transpose")
    },
}
"""Operators that can sum in another dtype than their operands', and attributes to keep."""

_IN_FLOAT32 = {
    f"relax.{name}"
    for name in (
        *("sum", "mean", "prod", "std", "variance", "cumsum", "cumprod", "einsum"),
        *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "erf", "exp"),
        *("isfinite", "isinf", "isnan", "log", "rsqrt", "sigmoid", "sin", "sinh", "sqrt", "tan"),
        *("tanh", "power", "mod", "floor_mod", "argmax", "argmin", "sort", "topk"),
        *("nn.softmax", "nn.log_softmax", "nn.gelu", "nn.gelu_tanh", "nn.silu", "nn.softplus"),
        *("nn.layer_norm", "nn.group_norm", "nn.instance_norm", "nn.rms_norm", "nn.batch_norm"),
        *(f"nn.{kind}_pool{axes}d" for kind in ("avg", "adaptive_avg") for axes in (1, 2, 3)),
    )
}


def widen_sums(mod: tvm.IRModule) -> tvm.IRModule:
    """Compute what "main" sums or takes functions of in half precision in float32.

    A product or convolution whose ``out_dtype`` is given is left as it is, and so is a running sum.

    Rewrite
    -------
    ``matmul(x, y)``  →  ``astype(matmul(x, y, out_dtype="float32"), float16)``

    ``sum(x)``  →  ``astype(sum(astype(x, float32)), float16)``
    """
    return rewrite_main(mod, _WidenSums(mod))


@mutator
class _WidenSums(Rewriter):
    def rewrite(self, call: Any) -> Any:
        name = op_name(call)
        if name in _CONTRACTIONS:
            return self._contraction(call, *_CONTRACTIONS[name])
        if name not in _IN_FLOAT32 or _asks_for_a_dtype(call):
            return call
        dtype = self._half_of(call.args)
        if dtype is None:
            return call
        found = self.with_args(call, [self._wide(arg) for arg in call.args])
        return self._stored(found, dtype)

    def _contraction(self, call: Any, operator: Callable[..., Any], kept: tuple[str, ...]) -> Any:
        dtype = _dtype(call.args[0])
        if dtype not in NARROW or _asks_for_a_dtype(call):
            return call
        attributes = {name: getattr(call.attrs, name) for name in kept}
        found = operator(*call.args, **attributes, out_dtype="float32")
        return relax.op.astype(self.emit(found), dtype)

    def _half_of(self, args: Any) -> str | None:
        """The first half dtype of some arguments, tuples taken apart."""
        dtypes = (_dtype(one) for arg in args for one in self._fields(arg))
        return next((dtype for dtype in dtypes if dtype in NARROW), None)

    def _fields(self, arg: Any) -> list[Any]:
        found = self.value(arg)
        return list(found.fields) if isinstance(found, relax.Tuple) else [arg]

    def _wide(self, arg: Any) -> Any:
        found = self.value(arg)
        if isinstance(found, relax.Tuple):
            return relax.Tuple([self._wide(one) for one in found.fields])
        return self.emit(relax.op.astype(arg, "float32")) if _dtype(arg) in NARROW else arg

    def _stored(self, found: Any, dtype: str) -> Any:
        """A result, or several, whose float32 is of ``dtype`` again."""
        if isinstance(found.ty, relax.TupleType):
            places = range(len(found.ty.fields))
            parts = [self.emit(relax.TupleGetItem(found, place)) for place in places]
            return relax.Tuple([self._stored(part, dtype) for part in parts])
        if _dtype(found) != "float32":
            return found
        return self.emit(relax.op.astype(found, dtype))


def _dtype(expr: Any) -> str:
    return str(getattr(expr.ty, "dtype", ""))


def _asks_for_a_dtype(call: Any) -> bool:
    """Whether a product or a running sum says which dtype its result is of."""
    running = op_name(call) in ("relax.cumsum", "relax.cumprod")
    asked = getattr(call.attrs, "dtype" if running else "out_dtype", None)
    return str(asked) not in ("None", "", "void")
