"""TVM's virtual machine, which runs a compiled network."""

from __future__ import annotations

from typing import Any

from tvm import relax
from tvm.runtime import Tensor


def machine_of(executable: Any, device: Any) -> relax.VirtualMachine:
    """A machine for a compiled network; it shares the network's weights with others."""
    return relax.VirtualMachine(executable, device)


def flat(outputs: Any) -> list[Tensor]:
    """What a network returned, tuples within tuples taken apart."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in flat(output)]
