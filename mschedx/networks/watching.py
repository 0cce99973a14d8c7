"""Whether tensors of torch are still what they were.

Torch counts the writes to a tensor, but not those through ``.data``, through an array that shares
its memory, or in inference mode; and a parameter can be given other memory, or be replaced. So a
tensor is known by itself, by where it lies, by torch's count and by some of its bytes. Uncounted
writes that leave those bytes as they are go unnoticed, as do all of them on other devices.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_PIECE = 16
"""Bytes of each tensor that `Watch` looks at."""
_SPREAD = 1024
"""Elements of each tensor, evenly spread, that `watch` looks at."""


class Watch:
    """Tells of some tensors whether they have changed, in microseconds for hundreds.

    It keeps none of them alive, but their memory: whoever holds a watch drops it when they go.

    Parameters
    ----------
    tensors : sequence of tensor
    when_gone : callable, optional
        Called as soon as one of them is no more, in whatever thread that happens. Not called once
        the watch itself is dropped.
    """

    def __init__(
        self, tensors: Sequence[torch.Tensor], when_gone: Callable[[], object] | None = None
    ) -> None:
        self._pieces = [_middle(one) for one in tensors if _is_readable(one)]
        self._before = self._state(tensors)
        self._alive = [weakref.ref(one, _calling(when_gone)) for one in tensors]

    def has_changed(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Tell whether the tensors, the very ones it was made with, were written to or moved."""
        return self._state(tensors) != self._before

    def _state(self, tensors: Sequence[torch.Tensor]) -> tuple[Any, ...]:
        """Where they lie, torch's counts, and some bytes from the middle of each."""
        import torch

        try:
            addresses = [one.data_ptr() for one in tensors]
        except RuntimeError:  # a sparse one has no address
            addresses = [_address(one) for one in tensors]
        counts = [one._version for one in tensors if not one.is_inference()]
        pieces = torch.cat(self._pieces).numpy().tobytes() if self._pieces else b""
        return addresses, counts, pieces


def _calling(function: Callable[[], object] | None) -> Callable[[object], object] | None:
    """The callback of a weak reference, which is handed the reference."""
    return None if function is None else lambda _: function()


def watch(read: Callable[[], Mapping[str, torch.Tensor]]) -> Callable[[], list[str]]:
    """Tell which tensors have changed from now on.

    Parameters
    ----------
    read : callable
        Gives the tensors by name, as they are when it is called.

    Returns
    -------
    callable
        Gives the names of those that were written to, moved, replaced, added or taken away.
    """
    before = dict(read())
    known = {name: _state(one) for name, one in before.items()}

    def changed() -> list[str]:
        now = read()
        names = dict.fromkeys((*before, *now))
        return [name for name in names if not _is_same(name, now)]

    def _is_same(name: str, now: Mapping[str, torch.Tensor]) -> bool:
        return (
            now.get(name) is before.get(name)  # both alive: no id of one that is gone
            and _state(now[name]) == known[name]
        )

    return changed


def _state(tensor: torch.Tensor) -> tuple[Any, ...]:
    count = 0 if tensor.is_inference() else tensor._version
    return _address(tensor), count, _spread(tensor) if _is_readable(tensor) else b""


def _address(tensor: torch.Tensor) -> int:
    import torch

    return tensor.data_ptr() if tensor.layout == torch.strided else 0


def _is_readable(tensor: torch.Tensor) -> bool:
    import torch

    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return plain and tensor.numel() > 0 and tensor.data_ptr() != 0


def _bytes(tensor: torch.Tensor, first: int, count: int, step: int, width: int) -> torch.Tensor:
    """Some of a tensor's memory as [count, width] bytes, where it lies."""
    import torch

    room = tensor.untyped_storage()
    return torch.empty(0, dtype=torch.uint8).set_(room, first, (count, width), (step, 1))


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """First byte in the storage, and how many elements lie between it and the last one."""
    steps = zip(tensor.shape, tensor.stride())
    between = sum((n - 1) * step for n, step in steps)
    return int(tensor.storage_offset()) * tensor.itemsize, int(1 + between)


def _middle(tensor: torch.Tensor) -> torch.Tensor:
    first, elements = _span(tensor)
    skipped = (elements // 2) * tensor.itemsize if elements * tensor.itemsize > _PIECE else 0
    width = min(_PIECE, elements * tensor.itemsize - skipped)
    return _bytes(tensor, first + skipped, 1, 1, width).view(-1)


def _spread(tensor: torch.Tensor) -> bytes:
    first, elements = _span(tensor)
    step = -(-elements // _SPREAD)
    size = tensor.itemsize
    return _bytes(tensor, first, -(-elements // step), step * size, size).numpy().tobytes()
