"""One call of a module, exported by torch: its sizes constant, or some of them symbolic."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import NetworkError

if TYPE_CHECKING:
    import torch


def call_exported(
    model: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic: Mapping[str, Mapping[int, Any]] | None = None,
) -> torch.export.ExportedProgram:
    """Export a module for one call.

    Parameters
    ----------
    model : nn.Module
    args, kwargs
        Of the call.
    dynamic : mapping, optional
        Names of arguments that are tensors, to axes, to ``torch.export.Dim``.

    Raises
    ------
    NetworkError
        For what torch cannot export, with its reason, and for names and axes that are not there.
    """
    import torch

    if dynamic:
        return _exported_dynamic(model, args, kwargs, dynamic)
    try:
        return torch.export.export(model, args, kwargs)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n\n")[0].rstrip(".")
        raise NetworkError(
            f"torch cannot export this network for these example inputs: {reason}. Where what it "
            "does depends on values, torch.compile(model, backend='mschedx') tunes what lies "
            "between the branches"
        ) from error


def _exported_dynamic(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: Mapping[str, Any]
) -> Any:
    import torch

    names = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    unknown = sorted(set(dynamic) - set(names))
    if unknown:
        raise NetworkError(
            f"expected inputs of the network among {', '.join(names)}, got {', '.join(unknown)}"
        )
    for name, axes in dynamic.items():
        rank = names[name].dim() if isinstance(names[name], torch.Tensor) else 0
        if max(axes) >= rank:
            what = f"a tensor of {rank} axes" if rank else "no tensor by itself"
            raise NetworkError(
                f"expected {name}[{max(axes)}] to be a size of a tensor, {name} is {what}"
            )
    shapes = {name: dict(dynamic[name]) if name in dynamic else None for name in names}
    values = {name: widened(value, shapes[name] or {}) for name, value in names.items()}
    args = tuple(values[name] for name in list(names)[: len(args)])
    kwargs = {name: values[name] for name in kwargs}
    try:
        return torch.export.export(model, args, kwargs, dynamic_shapes=shapes)
    except (RuntimeError, ValueError) as error:
        said = ", ".join(f"{name}[{axis}]" for name, axes in dynamic.items() for axis in axes)
        raise NetworkError(
            f"torch cannot export this network with {said} of any size: {str(error).strip()[:600]}"
        ) from error


def widened(value: Any, axes: Mapping[int, Any]) -> Any:
    """Two of what there is one of along these axes: torch takes sizes of one for constants."""
    for axis in axes:
        if axis < value.dim() and value.shape[axis] == 1:
            value = value.repeat_interleave(2, axis)
    return value
