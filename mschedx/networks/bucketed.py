"""A network compiled for several sizes of its inputs, called with any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm

from mschedx.kernel import OfOneProcess, is_torch

from .compiled import CompiledNetwork
from .dimensions import Dimension, Shapes


@dataclass(frozen=True)
class Buckets:
    """Which sizes there are, and how tensors are brought to them and back.

    Parameters
    ----------
    dimensions : tuple of Dimension
    inputs, outputs : Shapes
        Of the network's tensors, by its symbols.
    """

    dimensions: tuple[Dimension, ...]
    inputs: Shapes
    outputs: Shapes

    def sizes_in(self, tensors: Sequence[Any]) -> tuple[int, ...]:
        """Size of every dimension in a call's tensors.

        Raises
        ------
        ValueError
            If sizes that are one differ, or follow from another and do not.
        """
        sizes = tuple(one.size_in(tensors) for one in self.dimensions)
        expected = self.inputs(self.by_symbol(sizes))
        for place, (tensor, shape) in enumerate(zip(tensors, expected)):
            if tuple(tensor.shape) != shape:
                said = ", ".join(f"{one.name} = {n}" for one, n in zip(self.dimensions, sizes))
                raise ValueError(
                    f"expected input {place} with shape {list(shape)}, for {said}; got "
                    f"{list(tensor.shape)}"
                )
        return sizes

    def by_symbol(self, sizes: Sequence[int]) -> dict[str, int]:
        """Size of every symbol, from those of the dimensions."""
        pairs = zip(self.dimensions, sizes)
        return {symbol: size for one, size in pairs for symbol in one.symbols}

    def name(self, sizes: Sequence[int]) -> str:
        """Name a bucket for readers and files: ``x0=8,x1=128``."""
        names = (one.name.partition(",")[0] for one in self.dimensions)
        plain = (name.replace("[", "").replace("]", "") for name in names)
        return ",".join(f"{name}={size}" for name, size in zip(plain, sizes))


class CompiledBuckets(OfOneProcess):
    """A network as a function of inputs of many sizes.

    A call goes to the artefact of its size. Where padding is right, another size goes to the next
    larger one: inputs are filled up with zeros, outputs cut.

    Parameters
    ----------
    networks : mapping
        Sizes of the dimensions to the network that is compiled for them.
    buckets : Buckets
    pads : mapping of str to bool
        Names of the dimensions to whether they are padded.
    """

    def __init__(
        self,
        networks: Mapping[tuple[int, ...], CompiledNetwork],
        buckets: Buckets,
        pads: Mapping[str, bool],
    ) -> None:
        self.networks, self.pads = dict(networks), dict(pads)
        self._buckets = buckets
        self._signature = next(iter(self.networks.values())).signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network.

        Raises
        ------
        TypeError
            For other arguments, another dtype, or what is no array.
        ValueError
            For a size that nothing is compiled for, another shape, or a tensor on another device.
        """
        return self._signature.unflatten(self.outputs(self._signature.tensors(args, kwargs)))

    def outputs(self, tensors: list[Any]) -> list[Any]:
        """Run the network on the tensors of a call; its outputs as a flat list."""
        for tensor, parameter in zip(tensors, self._signature.inputs):
            if not hasattr(tensor, "shape"):
                raise TypeError(f"expected {parameter}; got {type(tensor).__name__}, no array")
        sizes = self._buckets.sizes_in(tensors)
        bucket = tuple(
            one.bucket(size, pads=self.pads[one.name])
            for one, size in zip(self._buckets.dimensions, sizes)
        )
        if bucket not in self.networks:
            raise ValueError(
                f"nothing is compiled for {self._buckets.name(bucket)}: tuning ended before; call "
                "tune_buckets again with the same work_dir"
            )
        network = self.networks[bucket]
        if bucket == sizes:
            return network.outputs(tensors)
        shapes = [parameter.shape for parameter in network.signature.inputs]
        outputs = network.outputs([_padded(one, shape) for one, shape in zip(tensors, shapes)])
        wanted = self._buckets.outputs(self._buckets.by_symbol(sizes))
        return [_cut(one, shape) for one, shape in zip(outputs, wanted)]


def _padded(tensor: Any, shape: Sequence[int]) -> Any:
    """Fill up with zeros at the end of every axis."""
    missing = [extent - have for extent, have in zip(shape, tensor.shape)]
    if not any(missing):
        return tensor
    if isinstance(tensor, np.ndarray):
        return np.pad(tensor, [(0, more) for more in missing])
    if is_torch(tensor):
        filled = tensor.new_zeros(tuple(shape))
        filled[tuple(slice(have) for have in tensor.shape)] = tensor
        return filled
    whole = np.pad(tensor.numpy(), [(0, more) for more in missing])
    return tvm.runtime.tensor(whole, tensor.device)


def _cut(tensor: Any, shape: Sequence[int]) -> Any:
    """Leave out what lies beyond a shape; contiguous."""
    place = tuple(slice(extent) for extent in shape)
    if isinstance(tensor, np.ndarray):
        return _contiguous(tensor[place])
    if is_torch(tensor):
        return tensor[place].contiguous()
    return tvm.runtime.tensor(_contiguous(tensor.numpy()[place]), tensor.device)


def _contiguous(array: np.ndarray) -> np.ndarray:
    """Without a copy where it is contiguous; NumPy's own function makes [1] of a shape []."""
    return np.ascontiguousarray(array).reshape(array.shape)
