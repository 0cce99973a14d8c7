"""A network some of whose operators are torch's, as a function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from mschedx.kernel import OfOneProcess, Parameter, is_torch

from .arrays import array_of, tensor_of
from .signature import Signature

if TYPE_CHECKING:
    import torch


class CompiledParts(OfOneProcess):
    """A network as a function of torch tensors or NumPy arrays, some of its operators torch's.

    Outputs are of the first input's kind, and new with every call. Gradients are not computed.

    Parameters
    ----------
    whole : callable
        From torch tensors to a flat sequence of such.
    signature : Signature
    """

    def __init__(self, whole: Any, signature: Signature) -> None:
        self.signature = signature
        self._whole = whole
        has_weights = hasattr(whole, "parameters")
        weights = (*whole.parameters(), *whole.buffers()) if has_weights else ()
        self._rooms = {_room(weight) for weight in weights}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network.

        Raises
        ------
        TypeError
            For other arguments, another dtype, or what is no array.
        ValueError
            For another shape than it was tuned for.
        """
        return self.signature.unflatten(self.outputs(self.signature.tensors(args, kwargs)))

    def outputs(self, tensors: list[Any]) -> list[Any]:
        """Run the network on the tensors of a call; its outputs as a flat list."""
        import torch

        given = [_checked(one, kind) for one, kind in zip(tensors, self.signature.inputs)]
        with torch.no_grad():
            found = _apart(self._whole(*given), {*self._rooms, *map(_room, given)})
        as_arrays = bool(tensors) and isinstance(tensors[0], np.ndarray)
        return [array_of(one) for one in found] if as_arrays else found


def _apart(outputs: Iterable[torch.Tensor], taken: set[int]) -> list[torch.Tensor]:
    """Copy the outputs whose memory is taken: by inputs, by weights, by outputs before them."""
    found = []
    for output in outputs:
        room = _room(output)
        found.append(output.clone() if room in taken else output)
        taken |= {room}
    return found


def _room(tensor: torch.Tensor) -> int:
    """Address of the memory that a tensor, and every view of it, lies in."""
    return tensor.untyped_storage().data_ptr()


def _checked(value: Any, expected: Parameter) -> Any:
    """An input as a tensor of torch."""
    if not (is_torch(value) or isinstance(value, np.ndarray)):
        raise TypeError(f"expected {expected}; got {type(value).__name__}, no tensor of torch")
    tensor = tensor_of(value) if isinstance(value, np.ndarray) else value
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype != expected.dtype:
        raise TypeError(f"expected {expected}; got {dtype}")
    if tuple(tensor.shape) != expected.shape:
        raise ValueError(f"expected {expected}; got {list(tensor.shape)}")
    return tensor
