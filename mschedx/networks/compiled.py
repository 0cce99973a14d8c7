"""A compiled network that any thread may call with anybody's tensors."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tvm import relax
from tvm.runtime import Tensor

from mschedx import compat
from mschedx.kernel import Kernel, Parameter, is_torch
from mschedx.ranges import require_count

from .machines import flat, machine_of
from .signature import Signature


class CompiledNetwork:
    """A network as a function of torch or TVM tensors, or NumPy arrays.

    Tensors that are contiguous and begin on 64 bytes are used where they lie, others are copied.
    Outputs are of the first input's kind, and new with every call. Where a call has no tensors they
    are torch's, of a network of torch, and else TVM's.

    TVM's virtual machine keeps the state of a call, and its pools of threads belong to the thread
    that calls. So every calling thread gets a machine of its own, which shares the weights; where
    its pool was started with fewer cores before, or was left behind by a fork, calls go through a
    thread that has them all.

    Parameters
    ----------
    executable : relax.VMExecutable
    signature : Signature
    device : Device
    cores : int, optional
        That kernels use; when None what `mschedx.compat.use_cores` takes then.

    Raises
    ------
    ValueError
        For cores that are no whole number of at least 1.
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
        self._cores = None if cores is None else require_count("cores", cores)
        self._begin()
        self._check = Kernel(None, "the network", signature.inputs, device)

    def _begin(self) -> None:
        """Know no thread: in a new process those of another one are gone."""
        self._process = os.getpid()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._apart: ThreadPoolExecutor | None = None

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
        outputs = self._run([self.prepared(tensor, parameter) for tensor, parameter in pairs])
        as_arrays = bool(tensors) and isinstance(tensors[0], np.ndarray)
        as_torch = is_torch(tensors[0]) if tensors else self.signature.of_torch
        return [_given(output, as_arrays, as_torch) for output in outputs]

    def prepared(self, tensor: Any, parameter: Parameter) -> Tensor:
        """Give an input as a tensor that kernels may read; a copy where it cannot be used as is."""
        return self._check.prepare(tensor, parameter)[0]

    def machine(self) -> relax.VirtualMachine | None:
        """The calling thread's machine; None where its pool of threads is too small."""
        if not hasattr(self._local, "machine"):
            try:
                compat.use_cores(self._cores)
            except RuntimeError:  # its pool has too few threads, or none after a fork
                self._local.machine = None
            else:
                self._local.machine = machine_of(self.executable, self._device)
        return self._local.machine

    def _run(self, tensors: list[Any]) -> list[Tensor]:
        if self._process != os.getpid():
            self._begin()
        machine = self.machine()
        if machine is not None:
            return flat(machine["main"](*tensors))
        with self._lock:
            if self._apart is None:
                self._apart = ThreadPoolExecutor(1, "mschedx-network")
        return self._apart.submit(self._run_apart, tensors).result()

    def _run_apart(self, tensors: list[Any]) -> list[Tensor]:
        machine = self.machine()
        if machine is None:
            raise RuntimeError("a new thread's pool of threads is too small; set TVM_NUM_THREADS")
        return flat(machine["main"](*tensors))


def _given(output: Tensor, as_arrays: bool, as_torch: bool) -> Any:
    """An output as what the caller works with."""
    if as_arrays:
        return output.numpy()
    if as_torch:
        import torch

        return torch.from_dlpack(output)
    return output
