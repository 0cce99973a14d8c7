"""What is computed from constants alone, where NumPy does it at once.

TVM's own ``FoldConstant`` compiles a function for every such call, which takes most of the time of
an import; it still runs afterwards, for whatever is left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from .graph import Rewriter, constant, constant_of, op_name, rewrite_main, shape_of


def fold_constants(mod: tvm.IRModule) -> tvm.IRModule:
    """Turn, reshape, cut and cast constants of "main", and look rows up within bounds.

    ``take`` comes from torch in a mode that reads whatever an index out of bounds points at; it
    becomes the mode that clips.
    """
    folded = rewrite_main(mod, _FoldConstants(mod))
    return relax.transform.CanonicalizeBindings()(folded)


@mutator
class _FoldConstants(Rewriter):
    def rewrite(self, call: Any) -> Any:
        name = op_name(call)
        if name == "relax.take" and str(call.attrs.mode) == "fast":
            return relax.op.take(*call.args, axis=call.attrs.axis, mode="clip")
        array = constant(self.value(call.args[0])) if call.args else None
        shape = shape_of(call)
        if array is None or shape is None:
            return call
        if name == "relax.astype" and "float" in str(array.dtype) and "float" in str(call.ty.dtype):
            return constant_of(array, str(call.ty.dtype))
        if name == "relax.permute_dims":
            axes = call.attrs.axes
            turned = array.transpose(None if axes is None else [int(axis) for axis in axes])
            return constant_of(turned, str(call.ty.dtype))
        if name in ("relax.reshape", "relax.expand_dims", "relax.squeeze", "relax.flatten"):
            return constant_of(array.reshape(shape), str(call.ty.dtype))
        if name == "relax.broadcast_to" and array.size == int(np.prod(shape)):
            return constant_of(array.reshape(shape), str(call.ty.dtype))
        return call
