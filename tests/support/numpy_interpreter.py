"""What a described function computes, in NumPy, with a bound of what rounding may change.

Floats are computed in float64. Every value has an error bound beside it, by the usual forward
analysis (Higham, *Accuracy and Stability of Numerical Algorithms*, chapters 2 to 4): each
operation adds the epsilon of its dtype times its result, sums of K terms K times that.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from described_functions import Axis, Block, Const, Expr, Function, Op, Read, Tensor

from mschedx.measure.timing import numpy_dtype
from mschedx.measure.tolerance import epsilon

_FUNCTION_ULPS = 16.0  # of exp, tanh and the like, in epsilons


class Unsuitable(ValueError):
    """A function whose result is not determined: it overflows, or branches on rounded values."""


@dataclass(frozen=True)
class Value:
    """float64 or integer array and the absolute error it may have, of one shape."""

    data: np.ndarray
    error: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", np.broadcast_to(self.error, np.shape(self.data)))

    @staticmethod
    def exact(data: np.ndarray) -> Value:
        return Value(data, np.zeros(()))


def random_inputs(function: Function, rng: np.random.Generator) -> list[np.ndarray]:
    """Arguments of a function, outputs too: short floats that every format holds exactly."""
    return [_random(tensor, rng) for tensor in function.parameters]


def _random(tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    kind = numpy_dtype(tensor.dtype)
    if tensor.dtype == "bool":
        return rng.integers(0, 2, tensor.shape).astype(bool)
    if kind.kind in "iu":
        narrow = kind.itemsize <= 2
        low, high = (np.iinfo(kind).min, np.iinfo(kind).max) if narrow else (-8, 8)
        return rng.integers(low, high, tensor.shape, endpoint=True).astype(kind)
    return (rng.integers(-16, 16, tensor.shape, endpoint=True) / 8).astype(kind)


def interpret(function: Function, arguments: list[np.ndarray]) -> list[Value]:
    """What every argument holds after the call.

    Raises
    ------
    Unsuitable
        Where the result is not determined by the description.
    """
    known = {}
    for tensor, array in zip(function.parameters, arguments, strict=True):
        wide = array if array.dtype.kind in "iub" else array.astype(np.float64)
        known[tensor.name] = Value.exact(wide)
    with np.errstate(all="ignore"):
        for block in function.blocks:
            known.update(_block(block, known))
    for tensor in function.tensors.values():
        _require_range(tensor, known[tensor.name])
    return [known[tensor.name] for tensor in function.parameters]


def _require_range(tensor: Tensor, value: Value) -> None:
    if tensor.dtype == "bool" or numpy_dtype(tensor.dtype).kind in "iu":
        return
    limit = 3e4 if tensor.dtype == "float16" else 1e30
    largest = np.max(np.abs(value.data) + value.error, initial=0.0)
    if not largest < limit:
        raise Unsuitable(f"{tensor.name} reaches {largest:.3g} in {tensor.dtype}")


def _block(block: Block, known: dict[str, Value]) -> dict[str, Value]:
    extents = (*block.spatial, *block.reduce)
    if 0 in block.reduce:  # TVM initialises in the first iteration
        raise Unsuitable(f"{block.name} reduces over nothing")
    ones = [1] * len(extents)
    axes = [
        np.arange(extent, dtype=np.int32).reshape([*ones[:p], extent, *ones[p + 1 :]])
        for p, extent in enumerate(extents)
    ]
    body = _evaluate(block.body, axes, known, guarded=False)
    data, error = (np.broadcast_to(part, extents) for part in (body.data, body.error))
    if block.kind == "map":
        return {block.name: Value(data, error)}
    shape = (*block.spatial, prod(block.reduce))
    data, error = data.reshape(shape), error.reshape(shape)
    if block.kind == "argmax":
        _require_exact(body)
        at = data.argmax(-1).astype(np.int32)
        return {f"{block.name}_at": Value.exact(at), block.name: Value.exact(data.max(-1))}
    value = _reduced(block.kind, data, error, block.body.dtype)
    if block.kind == "add_to":
        before = known[block.name]
        rounding = epsilon(block.body.dtype) * (np.abs(before.data) + np.abs(value.data))
        value = Value(before.data + value.data, value.error + rounding * (data.shape[-1] + 1))
    return {block.name: value}


def _reduced(kind: str, data: np.ndarray, error: np.ndarray, dtype: str) -> Value:
    terms, unit = data.shape[-1], epsilon(dtype)
    if kind in ("sum", "add_to"):
        size = np.abs(data).sum(-1) if unit else 0.0
        wide = data.sum(-1, dtype=data.dtype if unit else np.int64)
        return Value(_wrapped(wide, dtype), error.sum(-1) + unit * terms * size)
    if kind == "prod":
        wide = data.prod(-1, dtype=data.dtype if unit else np.int64)
        size = np.abs(data).prod(-1) if unit else 0.0
        grown = (np.abs(data) + error).prod(-1) if unit else 0.0
        return Value(_wrapped(wide, dtype), grown - size + unit * terms * (grown + size))
    return Value(getattr(data, kind)(-1), error.max(-1, initial=0.0))


def _require_exact(*values: Value) -> None:
    if any(np.any(value.error != 0) for value in values):
        raise Unsuitable("a comparison of rounded values")


def _wrapped(wide: np.ndarray, dtype: str) -> np.ndarray:
    """Integers in their type: those of 8 and 16 bits wrap, wider ones must not."""
    kind = numpy_dtype(dtype)
    if kind.kind not in "iu":
        return wide
    if kind.itemsize > 2 and np.max(np.abs(wide), initial=0) >= 2**31:
        raise Unsuitable(f"{dtype} overflows")
    return wide.astype(kind)


def _evaluate(expr: Expr, axes: list[np.ndarray], known: dict[str, Value], guarded: bool) -> Value:
    if isinstance(expr, Axis):
        return Value.exact(axes[expr.position])
    if isinstance(expr, Const):
        kind = numpy_dtype(expr.dtype)
        whole = kind.kind in "iub"
        return Value.exact(np.asarray(expr.value, kind if whole else np.float64))
    if isinstance(expr, Read):
        return _read(expr, axes, known, guarded)
    inner = guarded or expr.name == "if_then_else"
    args = [_evaluate(arg, axes, known, inner) for arg in expr.args]
    if expr.name in ("if_then_else", "select"):
        condition, one, two = args
        error = np.where(condition.data, one.error, two.error)
        return Value(np.where(condition.data, one.data, two.data), error)
    return _operation(expr, args)


def _read(expr: Read, axes: list[np.ndarray], known: dict[str, Value], guarded: bool) -> Value:
    source = known[expr.tensor]
    indices = []
    for size, index in zip(source.data.shape, expr.indices, strict=True):
        place = _evaluate(index, axes, known, guarded).data
        outside = (place < 0) | (place >= size)
        if not guarded and np.any(outside):
            raise Unsuitable(f"{expr.tensor} is read out of bounds")
        indices.append(np.clip(place, 0, max(0, size - 1)))
    if 0 in source.data.shape:  # only reached by loops that do not run
        extents = np.broadcast_shapes(*(axis.shape for axis in axes)) if axes else ()
        return Value.exact(np.zeros(extents, source.data.dtype))
    return Value(source.data[tuple(indices)], source.error[tuple(indices)])


def _operation(expr: Op, args: list[Value]) -> Value:
    """Operations of numbers: the result in the wide type, then the error of computing it."""
    name, unit = expr.name, epsilon(expr.dtype)
    data, errors = [a.data for a in args], [a.error for a in args]
    if name in ("lt", "le", "eq", "div", "mod"):
        _require_exact(*args)
        result = _COMPARED[name](*data)
        return Value.exact(result if name in ("lt", "le", "eq") else _wrapped(result, expr.dtype))
    if name in ("and", "or", "not"):
        return Value.exact(getattr(np, f"logical_{name}")(*data))
    if name == "cast":
        return _cast(expr.dtype, args[0])
    if not unit:
        wide = [one.astype(np.int64) for one in data]
        return Value.exact(_wrapped(_EXACT[name](*wide), expr.dtype))
    result = _EXACT[name](*data)
    error = _ERRORS[name](*data, *errors) if name in _ERRORS else sum(errors)
    if name in ("max", "min"):
        return Value(result, np.maximum(*np.broadcast_arrays(*errors)))
    ulps = 1.0 if name in ("add", "sub", "mul", "truediv", "abs") else _FUNCTION_ULPS
    return Value(result, error + ulps * unit * (np.abs(result) + error))


def _cast(dtype: str, value: Value) -> Value:
    kind = numpy_dtype(dtype)
    if kind.kind in "iub":
        _require_exact(value)
        return Value.exact(value.data.astype(kind))
    wide = value.data.astype(np.float64)
    return Value(wide, value.error + epsilon(dtype) * np.abs(wide))


_COMPARED = {
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "div": np.floor_divide,
    "mod": np.mod,
}
_EXACT = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "abs": np.abs,
    "exp": np.exp,
    "tanh": np.tanh,
    "sqrt": np.sqrt,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
# What errors of the arguments become, where that is not their sum.
_ERRORS = {
    "mul": lambda x, y, dx, dy: np.abs(x) * dy + np.abs(y) * dx + dx * dy,
    "truediv": lambda x, y, dx, dy: (dx + np.abs(x / y) * dy) / np.maximum(np.abs(y) - dy, 1e-30),
    "exp": lambda x, dx: np.exp(x) * np.expm1(dx),
    "sqrt": lambda x, dx: np.sqrt(x + dx) - np.sqrt(np.maximum(x - dx, 0)),
}
