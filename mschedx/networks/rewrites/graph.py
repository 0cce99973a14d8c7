"""What the rewrites share: constants, shapes, uses, and a mutator that sees bound values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import Op
from tvm.relax.expr_functor import PyExprMutator

FUSABLE, OPAQUE = 4, 8
"""kOutEWiseFusable and kOpaque of TVM's OpPatternKind: what follows a function is fused with it, as
with a convolution, or nothing is."""

UNARY = {
    f"relax.{name}"
    for name in (
        *("abs", "astype", "clip", "cos", "erf", "exp", "log", "negative", "rsqrt", "sigmoid"),
        *("sin", "sqrt", "tanh", "nn.gelu", "nn.gelu_tanh", "nn.leakyrelu", "nn.relu", "nn.relu6"),
        *("nn.silu",),
    )
}
BINARY = {
    f"relax.{name}"
    for name in ("add", "divide", "maximum", "minimum", "multiply", "power", "subtract")
}
REDUCTIONS: dict[str, Callable[..., Any]] = {
    f"relax.{name}": getattr(relax.op, name) for name in ("max", "mean", "min", "sum")
}


def op_name(expr: Any) -> str:
    """Name of the operator that an expression calls; empty where it calls none."""
    called = isinstance(expr, relax.Call) and isinstance(expr.op, Op)
    return str(expr.op.name) if called else ""


_INTEGERS = (f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))
_SHARED = frozenset(("bool", "float16", "float32", "float64", *_INTEGERS))
"""Dtypes of tensors whose memory NumPy can use where it lies."""


def constant(expr: Any) -> np.ndarray | None:
    """The array of a constant tensor, to read only; None for any other expression.

    It is the constant's own memory: to ask for hundreds of megabytes of weights costs nothing.
    """
    if not isinstance(expr, tvm.ir.GenericConst):
        return None
    array = _memory(expr.value)
    array.flags.writeable = False
    return array


def constant_of(array: np.ndarray, dtype: str) -> tvm.ir.GenericConst:
    """A constant of an array of any strides, converted and copied in one go."""
    if dtype not in _SHARED:
        return relax.const(np.array(array, order="C"), dtype)
    tensor = tvm.runtime.empty(array.shape, dtype)
    _memory(tensor)[...] = array
    return relax.const(tensor)


def product_of(array: np.ndarray, factor: np.ndarray) -> tvm.ir.GenericConst:
    """A constant ``array · factor``, multiplied in float64 and rounded once to the array's dtype.

    Parameters
    ----------
    array : array
    factor : float64 array
        Of a shape that spreads to the array's.
    """
    if str(array.dtype) not in _SHARED:
        return relax.const((array.astype(np.float64) * factor).astype(array.dtype))
    tensor = tvm.runtime.empty(array.shape, str(array.dtype))
    np.multiply(array, factor, out=_memory(tensor), dtype=np.float64, casting="same_kind")
    return relax.const(tensor)


def _memory(tensor: tvm.runtime.Tensor) -> np.ndarray:
    """A tensor as an array; in place where NumPy knows its dtype."""
    return np.from_dlpack(tensor) if str(tensor.dtype) in _SHARED else tensor.numpy()


def shape_of(expr: Any) -> tuple[int, ...] | None:
    """Constant shape of a tensor; None where it is none or not known."""
    shape = getattr(expr.ty, "shape", None)
    values = None if shape is None else getattr(shape, "values", shape)
    if values is None or not all(hasattr(extent, "value") for extent in values):
        return None
    return tuple(int(extent) for extent in values)


def transposed_axes(call: Any, rank: int) -> list[int]:
    """The axes of a transposition; all of them reversed where it names none."""
    if call.attrs.axes is None:
        return list(reversed(range(rank)))
    return [int(axis) % rank for axis in call.attrs.axes]


def positive_axes(axes: Any, rank: int) -> list[int] | None:
    """Axes of a normalisation or reduction, counted from the front; None where it is all."""
    if axes is None:
        return None
    return [int(axis) % rank for axis in ([axes] if isinstance(axes, int) else axes)]


def reshaped(expr: Any, shape: tuple[int, ...]) -> Any:
    """A reshape, not emitted yet."""
    return relax.op.reshape(expr, list(shape))  # pyright: ignore[reportArgumentType]


def uses(func: relax.Function) -> Counter[Any]:
    """How often each variable of a function is read."""
    counts: Counter[Any] = Counter()

    def visit(expr: Any) -> None:
        if isinstance(expr, relax.Var):
            counts[expr] += 1

    relax.analysis.post_order_visit(func, visit)
    return counts


class Rewriter(PyExprMutator):
    """A mutator of one function that reads what variables stand for.

    A subclass, decorated with ``relax.expr_functor.mutator``, overrides `rewrite`.
    """

    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__(mod)

    def visit_call_(self, op: Any) -> Any:
        call = self.visit_expr_post_order(op)
        return self.rewrite(call) if isinstance(call, relax.Call) else call

    def rewrite(self, call: Any) -> Any:
        """Give what takes the place of a call whose arguments have been rewritten."""
        return call

    def value(self, expr: Any) -> Any:
        """What a variable is bound to; the expression itself otherwise."""
        while True:
            if isinstance(expr, relax.Var):
                bound = self.lookup_binding(expr)
                if bound is None:
                    return expr
                expr = bound
            elif isinstance(expr, relax.TupleGetItem):
                whole = self.value(expr.tuple_value)
                if not isinstance(whole, relax.Tuple):
                    return expr
                expr = whole.fields[expr.index]
            else:
                return expr

    def emit(self, expr: Any) -> Any:
        return self.builder_.emit(expr)

    def call_tir(self, func: Any, name: str, *args: Any) -> Any:
        """Add a PrimFunc of inputs and, last, one output; emit a call of it."""
        place = self.builder_.add_func(func.without_attr("global_symbol"), name)
        output = func.params[-1].ty
        extents: Any = [int(extent) for extent in output.shape]
        arguments: Any = list(args)
        ty = relax.TensorType(extents, str(output.dtype))
        return self.emit(relax.call_tir(place, arguments, ty))

    def with_args(self, call: Any, args: list[Any]) -> Any:
        """The same operator with other arguments."""
        return self.emit(relax.Call(call.op, args, call.attrs, call.ty_args))


def rewrite_main(mod: tvm.IRModule, rewriter: Any) -> tvm.IRModule:
    """Rewrite the function "main", and drop what nothing reads any more."""
    name = mod.get_global_var("main")
    rewriter.builder_.update_func(name, rewriter.visit_expr(mod["main"]))
    return relax.transform.DeadCodeElimination(["main"])(rewriter.builder_.get())
