"""Operands in the dtypes that torch computes in, which TVM's importer does not look at.

Decompositions as in :mod:`.decompositions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def promotions() -> dict[Any, Callable[..., Any]]:
    """Give the decompositions by overload."""
    import torch

    aten = torch.ops.aten
    binary = (
        *(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor),
        *(aten.div.Tensor_mode, aten.maximum.default, aten.minimum.default),
        *(aten.remainder.Scalar, aten.remainder.Tensor, aten.fmod.Scalar, aten.fmod.Tensor),
        *(aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor),
        *(getattr(aten.bitwise_and, kind) for kind in ("Scalar", "Tensor")),
        *(getattr(aten.bitwise_or, kind) for kind in ("Scalar", "Tensor")),
        *(getattr(aten.bitwise_xor, kind) for kind in ("Scalar", "Tensor")),
    )
    compared = ("eq", "ne", "lt", "le", "gt", "ge")
    compares = [getattr(getattr(aten, f), kind) for f in compared for kind in ("Scalar", "Tensor")]
    real = (
        *("reciprocal", "exp", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "sin"),
        *("cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
        *("sigmoid", "erf"),
    )
    return {
        **{operator: partial(_promoted, operator) for operator in (*binary, *compares)},
        **{(f := getattr(aten, name).default): partial(_of_reals, f) for name in real},
        aten.all.default: lambda x: aten.all.dim(x.reshape(-1), 0),
        aten.all.dim: _all,
        aten.any.default: lambda x: aten.any.dim(x.reshape(-1), 0),
        **{f: partial(_any, f) for f in (aten.any.dim, aten.any.dims)},
        aten.cat.default: _cat,
        aten.pow.Scalar: _pow_scalar,
        aten.where.self: _where,
    }


def _promoted(operator: Any, x: Any, other: Any, *, alpha: Any = 1, **more: Any) -> Any:
    """Operands in the dtype that torch computes in, and multiplied by what it multiplies with.

    The importer takes no notice of `alpha`, makes an integer of a number beside integers, and
    divides integers as such.
    """
    import torch

    if alpha != 1:
        return operator(x, other * alpha, **more)
    aten = torch.ops.aten
    dtype = torch.result_type(x, other)
    if operator is aten.div.Tensor and not (dtype.is_floating_point or dtype.is_complex):
        dtype = torch.get_default_dtype()
    if dtype == torch.bool and operator in (aten.mul.Tensor, aten.add.Tensor):
        both = aten.logical_and if operator is aten.mul.Tensor else aten.logical_or
        return both.default(x, torch.as_tensor(other))
    tensors = [one for one in (x, other) if isinstance(one, torch.Tensor)]
    if all(one.dtype == dtype for one in tensors):
        return NotImplemented
    return operator(_cast(x, dtype), _cast(other, dtype), **more)


def _cast(value: Any, dtype: Any) -> Any:
    """A tensor in a dtype; a number as it is."""
    return value.to(dtype) if hasattr(value, "to") else value


def _of_reals(operator: Any, x: torch.Tensor) -> Any:
    """Functions of real numbers, of integers too."""
    import torch

    if x.is_floating_point() or x.is_complex():
        return NotImplemented
    return operator(x.to(torch.get_default_dtype()))


def _any(operator: Any, x: torch.Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether any is not zero: the importer gives the largest. Torch answers in uint8 of uint8."""
    import torch

    if x.dtype == torch.bool:
        return NotImplemented
    found = operator(x.to(torch.bool), dim, keepdim)
    return found.to(x.dtype) if x.dtype == torch.uint8 else found


def _all(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    import torch

    found = ~torch.ops.aten.any.dim(x == 0 if x.dtype != torch.bool else ~x, dim, keepdim)
    return found.to(x.dtype) if x.dtype == torch.uint8 else found


def _pow_scalar(base: Any, exponent: torch.Tensor) -> Any:
    import torch

    dtype = torch.result_type(base, exponent)
    if exponent.dtype == dtype or not dtype.is_floating_point:
        return NotImplemented
    return torch.ops.aten.pow.Scalar(base, exponent.to(dtype))


def _where(condition: torch.Tensor, x: torch.Tensor, other: torch.Tensor) -> Any:
    import torch

    dtype = torch.result_type(x, other)
    if x.dtype == other.dtype == dtype:
        return NotImplemented
    return torch.ops.aten.where.self(condition, x.to(dtype), other.to(dtype))


def _cat(tensors: Sequence[torch.Tensor], dim: int = 0) -> Any:
    import torch

    dtype = tensors[0].dtype
    for one in tensors[1:]:
        dtype = torch.promote_types(dtype, one.dtype)
    if all(one.dtype == dtype for one in tensors):
        return NotImplemented
    return torch.ops.aten.cat.default([one.to(dtype) for one in tensors], dim)
