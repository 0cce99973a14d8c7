"""Casts to half precision and back, where nothing is stored in between.

Torch rounds what every operator gives to the network's dtype; where the next operator computes in
float32 again, and both become one function, nothing is written that would have to be rounded.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from .graph import Rewriter, op_name, rewrite_main

NARROW = ("float16", "bfloat16")


def is_half(mod: tvm.IRModule) -> bool:
    """Whether all floats that "main" is given, weights and inputs, are of half precision."""
    dtypes = {str(getattr(parameter.ty, "dtype", "")) for parameter in mod["main"].params}

    def visit(expr: Any) -> None:
        if isinstance(expr, tvm.ir.GenericConst) and len(expr.value.shape) > 0:
            dtypes.add(str(expr.value.dtype))

    relax.analysis.post_order_visit(mod["main"], visit)
    floats = [dtype for dtype in dtypes if "float" in dtype]
    return bool(floats) and all(dtype in NARROW for dtype in floats)


def merge_casts(mod: tvm.IRModule) -> tvm.IRModule:
    """Leave out casts of "main" to half precision that are undone.

    For networks that `is_half` alone: in others they are there to round.

    Rewrite
    -------
    ``astype(astype(x, float16), float32)``  →  ``x``, of float32: rounded once less
    """
    return rewrite_main(mod, _MergeCasts(mod))


@relax.expr_functor.mutator
class _MergeCasts(Rewriter):
    def rewrite(self, call: Any) -> Any:
        if op_name(call) != "relax.astype" or str(call.ty.dtype) != "float32":
            return call
        inner = self.value(call.args[0])
        if op_name(inner) != "relax.astype" or str(inner.ty.dtype) not in NARROW:
            return call
        before = inner.args[0]
        return before if str(before.ty.dtype) == "float32" else call
