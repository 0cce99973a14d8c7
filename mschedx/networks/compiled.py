"""A compiled network that any thread may call with anybody's tensors."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from tvm import relax
from tvm.runtime import Tensor

from mschedx import compat
from mschedx.kernel import Kernel, OfOneProcess, Parameter, is_torch

from .machines import flat, machine_of
from .signature import Signature


class CompiledNetwork(OfOneProcess):
    """A network as a function of torch or TVM tensors, or NumPy arrays.

    Tensors that are contiguous and begin on 64 bytes are used where they lie, others are copied.
    Outputs are of the first input's kind, and new with every call. Where a call has no tensors they
    are torch's, of a network of torch, and else TVM's.

    TVM's virtual machine keeps the state of a call, and its pools of threads belong to the thread
    that calls. So every thread that kernels run in (`mschedx.compat.Caller`) gets a machine of its
    own, which shares the weights.

    Parameters
    ----------
    executable : relax.VMExecutable
    signature : Signature
    device : Device
    cores : int, optional
        That kernels use; when None what `mschedx.compat.Caller` takes then.
    """

    def __init__(
        self,
        executable: relax.VMExecutable,
        signature: Signature,
        device: Any,
        cores: int | None = None,
    ) -> None:
        self.executable, self.signature = executable, signature
        self._device = device
        self._caller, self._local = compat.Caller(cores), threading.local()
        self._check = Kernel(None, "the network", signature.inputs, device)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the network.

        Raises
        ------
        TypeError
            For other arguments, another dtype, or what is no array.
        ValueError
            For another shape than it was tuned for, or a tensor on another device.
        """
        return self.signature.unflatten(self.outputs(self.signature.tensors(args, kwargs)))

    def outputs(self, tensors: list[Any]) -> list[Any]:
        """Run the network on the tensors of a call; its outputs as a flat list."""
        pairs = zip(tensors, self.signature.inputs)
        prepared = [self.prepared(tensor, parameter) for tensor, parameter in pairs]
        outputs = self._caller.call(self._run, prepared)
        as_arrays = bool(tensors) and isinstance(tensors[0], np.ndarray)
        as_torch = is_torch(tensors[0]) if tensors else self.signature.of_torch
        return [_given(output, as_arrays, as_torch) for output in outputs]

    def prepared(self, tensor: Any, parameter: Parameter) -> Tensor:
        """Give an input as a tensor that kernels may read; a copy where it cannot be used as is."""
        return self._check.prepare(tensor, parameter)[0]

    def _run(self, tensors: list[Any]) -> list[Tensor]:
        if not hasattr(self._local, "machine"):
            self._local.machine = machine_of(self.executable, self._device)
        return flat(self._local.machine["main"](*tensors))


def _given(output: Tensor, as_arrays: bool, as_torch: bool) -> Any:
    """An output as what the caller works with."""
    if as_arrays:
        return output.numpy()
    if as_torch:
        import torch

        return torch.from_dlpack(output)
    return output
