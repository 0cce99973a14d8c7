"""Pooling with torch's defaults, divisors and sizes, which TVM's importer takes otherwise.

Decompositions as in :mod:`.decompositions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def pooling() -> dict[Any, Callable[..., Any]]:
    """Give the decompositions by overload."""
    import torch

    aten = torch.ops.aten
    largest = (aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default)
    means = (aten.avg_pool2d.default, aten.avg_pool3d.default)
    return {
        **{f: partial(_max_pool, f) for f in largest},
        **{f: partial(_avg_pool, f) for f in means},
    }


@dataclass(frozen=True)
class _Window:
    """A window along one axis.

    Parameters
    ----------
    kernel, stride, padding, dilation : int
    """

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def places(self, extent: int, *, ceil_mode: bool) -> int:
        """How many windows Relax has along an axis."""
        reach = self.dilation * (self.kernel - 1) + 1
        left = extent + 2 * self.padding - reach + (self.stride - 1) * ceil_mode
        return left // self.stride + 1

    def torchs(self, extent: int) -> int:
        """How many torch has with `ceil_mode`: none begins in the padding behind the axis."""
        count = self.places(extent, ceil_mode=True)
        return count - ((count - 1) * self.stride >= extent + self.padding)


def _windows(axes: int, kernel: Any, stride: Any, padding: Any, dilation: Any) -> list[_Window]:
    """Windows by axis; the stride is the kernel where there is none."""
    given = (kernel, stride or kernel, padding, dilation)
    return [_Window(*own) for own in zip(*(_of_each(axes, one) for one in given))]


def _of_each(axes: int, value: Any) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * axes if len(values) == 1 else values


def _arguments(windows: Sequence[_Window]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Kernel, stride, padding and dilation."""
    return (
        [one.kernel for one in windows],
        [one.stride for one in windows],
        [one.padding for one in windows],
        [one.dilation for one in windows],
    )


def _axes(operator: Any) -> int:
    return 2 if "2d" in operator.__name__ else 3


def _max_pool(
    operator: Any,
    x: torch.Tensor,
    kernel: Any,
    stride: Any = (),
    padding: Any = (0,),
    dilation: Any = (1,),
    ceil_mode: bool = False,
) -> Any:
    def call(x: torch.Tensor, windows: Sequence[_Window], up: bool) -> Any:
        return operator(x, *_arguments(windows), up)

    windows = _windows(_axes(operator), kernel, stride, padding, dilation)
    return _pooled(call, x, windows, ceil_mode, stated=bool(stride))


def _avg_pool(
    operator: Any,
    x: torch.Tensor,
    kernel: Any,
    stride: Any = (),
    padding: Any = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The importer takes no notice of another divisor either."""
    if divisor_override is not None:
        if ceil_mode:
            return NotImplemented
        mean = operator(x, kernel, stride, padding, False, True)
        return mean * (math.prod(_of_each(_axes(operator), kernel)) / divisor_override)

    def call(x: torch.Tensor, windows: Sequence[_Window], up: bool) -> Any:
        return operator(x, *_arguments(windows)[:3], up, count_include_pad)

    windows = _windows(_axes(operator), kernel, stride, padding, 1)
    return _pooled(call, x, windows, ceil_mode, stated=bool(stride))


def _pooled(
    call: Callable[[torch.Tensor, Sequence[_Window], bool], Any],
    x: torch.Tensor,
    windows: Sequence[_Window],
    ceil_mode: bool,
    *,
    stated: bool,
) -> Any:
    """Pool with the stride in words, and as many windows as torch has along each axis.

    Relax rounds all axes up alike; where torch does not, one axis is pooled after the other, which
    is the same for maxima and means.

    Parameters
    ----------
    call : callable
        Pools with windows by axis, rounding their number up or not.
    x : tensor
    windows : sequence of _Window
        Of the last axes.
    ceil_mode, stated : bool
        Whether numbers of windows are rounded up; whether the call states its stride.
    """
    sizes = x.shape[-len(windows) :]
    if not ceil_mode or not all(isinstance(extent, int) for extent in sizes):
        return NotImplemented if stated else call(x, windows, ceil_mode)
    ours = [one.torchs(extent) for one, extent in zip(windows, sizes)]
    if ours == [one.places(extent, ceil_mode=True) for one, extent in zip(windows, sizes)]:
        return NotImplemented if stated else call(x, windows, True)
    whole = [one.places(extent, ceil_mode=False) for one, extent in zip(windows, sizes)]
    if ours == whole:
        return call(x, windows, False)
    found: Any = x
    for axis, (window, count, least) in enumerate(zip(windows, ours, whole)):
        alone = [window if place == axis else _Window() for place in range(len(windows))]
        found = call(x, alone, count > least)
        x = found[0] if isinstance(found, tuple) else found
    return found
