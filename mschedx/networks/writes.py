"""Writes to some places of an array, which TVM's importer reads wrongly.

Decompositions as in :mod:`.decompositions`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def writes() -> dict[Any, Callable[..., Any]]:
    """Give the decompositions by overload."""
    import torch

    aten = torch.ops.aten
    return {
        aten.index_put.default: _index_put,
        **{f: partial(_scatter, f) for f in (aten.scatter.src, aten.scatter.value)},
    }


def _index_put(x: torch.Tensor, indices: Any, values: torch.Tensor, accumulate: Any = False) -> Any:
    """An index for every axis, and a value for every place.

    The importer reads values one after the other, whatever their shape; of an axis that is whole it
    makes an index that goes with others than it should, and it has none for axes at the end.
    """
    import torch

    given = [one for one in indices if one is not None]
    if not given or accumulate or any(one.dtype in (torch.bool, torch.uint8) for one in given):
        return NotImplemented
    places = [place for place, one in enumerate(indices) if one is not None]
    whole = [axis for axis in range(x.dim()) if axis not in places]
    beside = places == list(range(places[0], places[-1] + 1))
    before = places[0] if beside else 0
    taken = torch.broadcast_shapes(*(one.shape for one in given))
    extents = [x.shape[axis] for axis in whole]
    shape = (*extents[:before], *taken, *extents[before:])
    if not whole and tuple(values.shape) == shape:
        return NotImplemented
    behind = [1] * (len(whole) - before)
    found = {place: one.reshape(*one.shape, *behind) for place, one in zip(places, given)}
    for number, axis in enumerate(whole):
        after = len(whole) - number - 1 + (len(taken) if number < before else 0)
        found[axis] = torch.arange(x.shape[axis], device=x.device).reshape(-1, *[1] * after)
    put = [found[axis] for axis in range(x.dim())]
    return torch.ops.aten.index_put.default(x, put, values.expand(shape))


def _scatter(operator: Any, x: torch.Tensor, dim: int, index: torch.Tensor, source: Any) -> Any:
    """The importer takes rows of the index for rows of the array, and of the source."""
    import torch

    is_tensor = isinstance(source, torch.Tensor)
    if is_tensor and source.shape != index.shape:
        source = source[tuple(slice(extent) for extent in index.shape)]
        return operator(x, dim, index, source)
    axis = dim % max(x.dim(), 1)
    shorter = [at for at in range(x.dim()) if at != axis and index.shape[at] != x.shape[at]]
    if not shorter:
        return NotImplemented
    extents = [x.shape[at] if at == axis else extent for at, extent in enumerate(index.shape)]
    parts = [x]
    for at in shorter:
        parts.append(parts[-1].narrow(at, 0, extents[at]))
    written = operator(parts.pop(), dim, index, source)
    for at, part in zip(reversed(shorter), reversed(parts)):
        written = torch.slice_scatter(part, written, at, 0, extents[at])
    return written
