"""One call of a module, exported by torch: its sizes constant, or some of them symbolic."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import NetworkError

if TYPE_CHECKING:
    import torch


_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


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
    from torch.utils import _pytree as pytree

    bound = inspect.signature(model.forward).bind(*args, **kwargs)
    kinds = {name: parameter.kind for name, parameter in bound.signature.parameters.items()}
    values = bound.arguments
    for name in values:
        if kinds[name] is inspect.Parameter.VAR_KEYWORD:
            raise NetworkError(
                f"expected inputs that the network's forward names, got {', '.join(values[name])} "
                f"within **{name}, with which torch exports no sizes of any value: give forward "
                "parameters of these names"
            )
    unknown = sorted(set(dynamic) - set(values))
    if unknown:
        raise NetworkError(
            f"expected inputs of the network among {', '.join(values)}, got {', '.join(unknown)}"
        )
    for name, axes in dynamic.items():
        rank = values[name].dim() if isinstance(values[name], torch.Tensor) else 0
        if max(axes) >= rank:
            what = f"a tensor of {rank} axes" if rank else "no tensor by itself"
            raise NetworkError(
                f"expected {name}[{max(axes)}] to be a size of a tensor, {name} is {what}"
            )
    wide = {name: widened(values[name], axes) for name, axes in dynamic.items()}
    by_place = [name for name, kind in kinds.items() if kind in _BY_PLACE]
    places = [*by_place, *[""] * len(args)]  # what `*args` holds has no name of its own
    args = tuple(wide.get(name, arg) for name, arg in zip(places, args))
    kwargs = {name: wide.get(name, value) for name, value in kwargs.items()}
    shapes = {
        name: dict(dynamic[name]) if name in dynamic else pytree.tree_map(lambda _: None, value)
        for name, value in values.items()
    }
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
