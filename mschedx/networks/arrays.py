"""Tensors of a framework as NumPy arrays and back; NumPy has bfloat16 and float8 by ml_dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mschedx.kernel import is_torch
from mschedx.measure.timing import SMALL_FLOATS, numpy_dtype

if TYPE_CHECKING:
    import torch

_OF_ONE_SIZE = {1: "uint8", 2: "int16"}


def array_of(tensor: Any) -> np.ndarray:
    """A tensor of torch or TVM, or an array, as an array; in place where that is possible."""
    if isinstance(tensor, np.ndarray):
        return tensor
    if not is_torch(tensor):
        return tensor.numpy()
    import torch

    plain = tensor.detach().as_subclass(torch.Tensor).cpu()
    name = str(plain.dtype).removeprefix("torch.")
    if not name.startswith(SMALL_FLOATS):
        return plain.numpy(force=True)
    dtype = numpy_dtype(name)
    return plain.view(getattr(torch, _OF_ONE_SIZE[dtype.itemsize])).numpy().view(dtype)


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """An array as a tensor of torch; in place where that is possible."""
    import torch

    if array.dtype.isbuiltin == 1:
        return torch.as_tensor(array)
    stored = torch.as_tensor(array.view(_OF_ONE_SIZE[array.dtype.itemsize]))
    return stored.view(getattr(torch, array.dtype.name))


def integers_of(tensor: Any) -> np.ndarray | None:
    """A copy of a tensor of integers or bools; None for floats, and for what is no tensor."""
    dtype = str(getattr(tensor, "dtype", "")).removeprefix("torch.")
    if not dtype.startswith(("int", "uint", "bool")) or "meta" in str(
        getattr(tensor, "device", "")
    ):
        return None
    return np.array(array_of(tensor))
