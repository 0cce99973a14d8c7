"""Small whole powers as products.

``x ** 3`` (the GELU of GPT-2) stays ``pow`` to LLVM, which calls ``powf`` for every lane of a
vector. A square rounds once as ``powf`` does; products for 3 and 4 round twice.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from .graph import Rewriter, constant, op_name, rewrite_main

_EXPONENTS = (2, 3, 4)


def expand_powers(mod: tvm.IRModule, *, exact: bool = False) -> tvm.IRModule:
    """Write powers by 2, 3 and 4 as products; of floats only squares where `exact` is asked for.

    Rewrite
    -------
    ``power(x, 3)``  →  ``multiply(multiply(x, x), x)``, ``power(x, 4)``  →  the square of a square
    """
    return rewrite_main(mod, _Powers(mod, exact))


@relax.expr_functor.mutator
class _Powers(Rewriter):
    def __init__(self, mod: tvm.IRModule, exact: bool) -> None:
        super().__init__(mod)
        self.exact = exact

    def rewrite(self, call: Any) -> Any:
        exponent = constant(self.value(call.args[1])) if op_name(call) == "relax.power" else None
        if exponent is None or exponent.ndim or float(exponent) not in _EXPONENTS:
            return call
        base, times = call.args[0], float(exponent)
        if self.exact and times > 2 and "float" in str(call.ty.dtype):
            return call
        square = self.emit(relax.op.multiply(base, base))
        if times == 2:
            return square
        return relax.op.multiply(square, base if times == 3 else square)
