"""Float16 and bfloat16 as torch computes with them: in float32, rounded once to what is stored.

TVM sums and takes functions in the dtype of the operands, where it knows bfloat16 at all.
Decompositions as in :mod:`.decompositions`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

_REDUCTIONS = (
    *("sum.default", "sum.dim_IntList", "mean.default", "mean.dim", "var.correction"),
    *("prod.default", "prod.dim_int", "cumsum.default", "cumprod.default", "logsumexp.default"),
    *("linalg_vector_norm.default", "_softmax.default", "_log_softmax.default"),
    *("avg_pool2d.default", "avg_pool3d.default"),
    *("_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default"),
    *("native_layer_norm.default", "native_group_norm.default"),
    *("_native_batch_norm_legit_no_training.default", "_native_batch_norm_legit.no_stats"),
)
_FUNCTIONS = (
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "elu", "erf"),
    *("exp", "exp2", "expm1", "gelu", "hardsigmoid", "hardswish", "log", "log10", "log1p", "log2"),
    *("log_sigmoid_forward", "mish", "reciprocal", "rsqrt", "sigmoid", "silu", "sin", "sinh"),
    *("softplus", "sqrt", "tan", "tanh", "isnan", "isinf", "argmax", "argmin", "topk", "sort"),
)
_OVERLOADS = (
    *("pow.Scalar", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "fmod.Scalar", "fmod.Tensor"),
    *("remainder.Scalar", "remainder.Tensor", "max.dim", "min.dim", "median.dim", "sort.stable"),
)


def narrow_floats() -> dict[Any, Callable[..., Any]]:
    """Give the decompositions by overload."""
    import torch

    names = (*_REDUCTIONS, *(f"{name}.default" for name in _FUNCTIONS), *_OVERLOADS)
    found = {}
    for name in names:
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(torch.ops.aten, packet), overload)
        found[operator] = partial(_in_float32, operator)
    return found


def is_narrow(x: Any) -> bool:
    """Whether it is a tensor of float16 or bfloat16."""
    import torch

    return isinstance(x, torch.Tensor) and x.dtype in (torch.float16, torch.bfloat16)


def _in_float32(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """The operator in float32; floats that it gives in its first tensor's dtype, or what is asked.

    Weights of a normalisation may be wider than what it normalises; others are promoted before.
    """
    import torch
    from torch.utils import _pytree as pytree

    leaves, spec = pytree.tree_flatten((args, kwargs))
    if not any(map(is_narrow, leaves)):
        return NotImplemented
    first = next(one for one in leaves if isinstance(one, torch.Tensor))
    dtype = kwargs.get("dtype") or first.dtype
    computed = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    wide = [one.to(computed) if is_narrow(one) else one for one in leaves]
    args, kwargs = pytree.tree_unflatten(wide, spec)
    if "dtype" in kwargs:
        kwargs["dtype"] = None if computed == torch.float32 else computed
    found = operator(*args, **kwargs)

    def stored(x: Any) -> Any:
        return x.to(dtype) if isinstance(x, torch.Tensor) and x.dtype == torch.float32 else x

    return pytree.tree_map(stored, found)
