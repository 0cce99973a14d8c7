"""Casts to half precision and back, where nothing is stored in between.

Torch rounds what every operator gives to the network's dtype; where the next operator computes in
float32 again, and both become one function, nothing is written that would have to be rounded.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from .graph import Rewriter, op_name, rewrite_main

_WIDER = {"float16": ("float32", "float64"), "bfloat16": ("float32", "float64")}


def merge_casts(mod: tvm.IRModule) -> tvm.IRModule:
    """Leave out casts of "main" to half precision that are undone.

    Rewrite
    -------
    ``astype(astype(x, float16), float32)``  →  ``x``, of float32: rounded once less
    """
    return rewrite_main(mod, _MergeCasts(mod))


@relax.expr_functor.mutator
class _MergeCasts(Rewriter):
    def rewrite(self, call: Any) -> Any:
        if op_name(call) != "relax.astype":
            return call
        inner = self.value(call.args[0])
        if op_name(inner) != "relax.astype":
            return call
        before, narrow = inner.args[0], str(inner.ty.dtype)
        wide = str(call.ty.dtype)
        undone = wide in _WIDER.get(narrow, ()) and str(before.ty.dtype) == wide
        return before if undone else call
