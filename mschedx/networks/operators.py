"""Operators of torch that TVM's importer lacks, in terms of those that it has.

`CONVERTERS` writes them in Relax, `decompositions` in other operators of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tvm import relax

if TYPE_CHECKING:
    import torch


def _reduced(operator: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """A reduction over ``(x, axes, keepdim)``, in the dtype that torch says."""

    def convert(node: Any, importer: Any) -> Any:
        x, *rest = importer.retrieve_args(node)
        axes = rest[0] if rest else node.kwargs.get("dim")
        keepdim = rest[1] if len(rest) > 1 else node.kwargs.get("keepdim", False)
        dtype = str(node.meta["val"].dtype).removeprefix("torch.")
        if x.ty.dtype != dtype:
            x = importer.block_builder.emit(relax.op.astype(x, dtype))
        return importer.block_builder.emit(
            operator(x, None if axes == [] else axes, keepdims=keepdim)
        )

    return convert


CONVERTERS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "amax.default": _reduced(relax.op.max),
        "amin.default": _reduced(relax.op.min),
        "prod.dim_int": _reduced(relax.op.prod),
    }
)
"""Name of an operator, as the importer spells it, to ``(node, importer)`` to a Relax variable."""


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Give what to write in other operators of torch, by overload."""
    import torch

    aten = torch.ops.aten
    return {
        aten.addmv.default: _addmv,
        aten.exp2.default: _exp2,
        aten.im2col.default: _im2col,
        aten.var_mean.correction: _var_mean,
    }


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
