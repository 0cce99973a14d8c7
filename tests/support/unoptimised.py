"""Programs built to be run once.

LLVM's optimiser takes most of the time of building a small program, and what the program computes
is TVM's doing at every level. Tests that look at machine code or at seconds build for the target
as it is.
"""

import tvm
from tvm.target import Target


def unoptimised(target: Target) -> Target:
    """The same CPU, for which LLVM translates and does not optimise."""
    return Target({**target.export(), "opt-level": 0})


def run_once(mod, target: Target, arrays):
    """All arguments after a run on ``arrays``, built for ``target`` without optimisation."""
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    tvm.compile(mod, target=unoptimised(target))["main"](*tensors)
    return [tensor.numpy() for tensor in tensors]
