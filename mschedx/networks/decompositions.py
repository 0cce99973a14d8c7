"""Operators of torch that TVM's importer lacks or reads wrongly, in other operators of torch.

A decomposition that returns ``NotImplemented`` leaves a call as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Give the decompositions by overload, as ``ExportedProgram.run_decompositions`` takes them."""
    import torch

    aten = torch.ops.aten
    binary = (
        *(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor),
        *(aten.div.Tensor_mode, aten.maximum.default, aten.minimum.default),
        *(aten.remainder.Scalar, aten.remainder.Tensor, aten.fmod.Scalar, aten.fmod.Tensor),
        *(aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor),
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
        aten.all.default: lambda x: _all(x.reshape(-1), 0),
        aten.all.dim: _all,
        aten.any.default: lambda x: aten.any.dim(x.reshape(-1).to(torch.bool), 0),
        aten.any.dim: _any,
        aten.addmv.default: _addmv,
        aten.avg_pool2d.default: _avg_pool2d,
        aten.cat.default: _cat,
        aten.clamp.default: _clamp,
        aten.cumsum.default: _cumsum,
        aten.elu.default: _elu,
        aten.exp2.default: _exp2,
        aten.full_like.default: _full_like,
        aten.im2col.default: _im2col,
        aten.logaddexp.default: _logaddexp,
        aten.min.dim: _min_dim,
        aten.native_group_norm.default: _native_group_norm,
        aten.pow.Scalar: _pow_scalar,
        aten.select.int: _select,
        aten.upsample_nearest2d.vec: _upsample_nearest2d,
        aten.var_mean.correction: _var_mean,
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


def _any(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    """Whether any is not zero: the importer adds numbers."""
    import torch

    any_of = torch.ops.aten.any.dim
    return any_of(x.to(torch.bool), dim, keepdim) if x.dtype != torch.bool else NotImplemented


def _all(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    import torch

    return ~torch.ops.aten.any.dim(x == 0 if x.dtype != torch.bool else ~x, dim, keepdim)


def _full_like(x: torch.Tensor, value: Any, *, dtype: Any = None, **_: Any) -> Any:
    """Infinities are a `full` of their own; see `operators`."""
    import torch

    if not isinstance(value, float) or math.isfinite(value):
        return NotImplemented
    return torch.full(tuple(x.shape), value, dtype=dtype or x.dtype, device=x.device)


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


def _avg_pool2d(
    x: torch.Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The importer takes no notice of another divisor."""
    import torch

    if divisor_override is None or ceil_mode:
        return NotImplemented
    mean = torch.ops.aten.avg_pool2d.default(x, kernel, stride, padding, False, True)
    return mean * (kernel[0] * kernel[-1] / divisor_override)


def _cumsum(x: torch.Tensor, dim: int, *, dtype: Any = None) -> Any:
    import torch

    if x.dtype != torch.bool:
        return NotImplemented
    return torch.cumsum(x.to(dtype or torch.int64), dim)


def _clamp(x: torch.Tensor, least: Any = None, most: Any = None) -> Any:
    """The importer has infinities for bounds that there are not, of integers too."""
    import torch

    bounds = [one for one in (least, most) if one is not None]
    if x.is_floating_point():
        return NotImplemented
    if any(isinstance(one, float) for one in bounds):
        return torch.clamp(x.to(torch.get_default_dtype()), least, most)
    if len(bounds) == 2:
        return NotImplemented
    bound = torch.full((), bounds[0], dtype=x.dtype, device=x.device)
    return torch.minimum(x, bound) if least is None else torch.maximum(x, bound)


def _elu(x: torch.Tensor, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Any:
    """The importer takes no notice of the scales."""
    import torch

    if scale == 1 and input_scale == 1:
        return NotImplemented
    return scale * torch.where(x > 0, x, alpha * (torch.exp(input_scale * x) - 1))


def _logaddexp(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    import torch

    larger, distance = torch.maximum(x, y), (x - y).abs()
    # Infinities of one sign have no distance.
    return torch.where(x == y, larger + 0.6931471805599453, larger + torch.log1p((-distance).exp()))


def _min_dim(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    import torch

    if not x.is_floating_point():
        return NotImplemented
    values, places = torch.max(-x, dim, keepdim)
    return -values, places


def _native_group_norm(
    x: torch.Tensor, weight: Any, bias: Any, n: int, c: int, hw: int, group: int, eps: float
) -> Any:
    import torch

    if weight is not None and bias is not None:
        return NotImplemented
    weight = x.new_ones(c) if weight is None else weight
    bias = x.new_zeros(c) if bias is None else bias
    return torch.ops.aten.native_group_norm.default(x, weight, bias, n, c, hw, group, eps)


def _select(x: torch.Tensor, dim: int, index: Any) -> Any:
    """The importer reads in front of the array for a place that counts from the end."""
    import torch

    if not isinstance(index, int) or index >= 0:
        return NotImplemented
    return torch.ops.aten.select.int(x, dim, index + x.shape[dim])


def _upsample_nearest2d(x: torch.Tensor, size: Any, factors: Any) -> Any:
    """The importer rounds to other pixels where an image grows by no whole factor."""
    import torch

    rows, columns = x.shape[-2:]
    wanted = size or [int(extent * by) for extent, by in zip((rows, columns), factors)]
    if wanted[0] % rows == 0 and wanted[1] % columns == 0:
        return NotImplemented
    steps = [1 / by for by in factors] if factors else [rows / wanted[0], columns / wanted[1]]
    i, j = (
        torch.floor(torch.arange(extent, dtype=torch.float32) * step).to(torch.int64)
        for extent, step in zip(wanted, steps)
    )
    return x.index_select(2, i.clamp(max=rows - 1)).index_select(3, j.clamp(max=columns - 1))


def _addmv(
    x: torch.Tensor, matrix: torch.Tensor, vector: torch.Tensor, *, beta: Any = 1, alpha: Any = 1
) -> torch.Tensor:
    product = (matrix @ vector[:, None])[:, 0]
    return beta * x + alpha * product if beta else alpha * product


def _exp2(x: torch.Tensor) -> torch.Tensor:
    import torch

    real = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    return torch.pow(torch.full((), 2.0, dtype=real.dtype, device=x.device), real)


def _var_mean(
    x: torch.Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    axes = list(range(x.dim())) if dim is None else dim
    variance = torch.var(
        x, axes, correction=1 if correction is None else correction, keepdim=keepdim
    )
    return variance, torch.mean(x, axes, keepdim=keepdim)


def _im2col(
    x: torch.Tensor,
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> torch.Tensor:
    """Patches as columns: one slice of the image for each position in the window.

    Torch's own way gathers single elements.
    """
    import torch

    images = x if x.dim() == 4 else x[None]
    images = torch.nn.functional.pad(images, (padding[1], padding[1], padding[0], padding[0]))
    rows, columns = (
        (images.shape[axis + 2] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in range(2)
    )
    slices = [
        images[:, :, i : i + (rows - 1) * stride[0] + 1 : stride[0]][
            ..., j : j + (columns - 1) * stride[1] + 1 : stride[1]
        ]
        for i in range(0, kernel[0] * dilation[0], dilation[0])
        for j in range(0, kernel[1] * dilation[1], dilation[1])
    ]
    found = torch.stack(slices, 2).flatten(3).flatten(1, 2)
    return found if x.dim() == 4 else found[0]
