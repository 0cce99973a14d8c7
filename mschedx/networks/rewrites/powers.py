"""Small whole powers as products.

``x ** 3`` (the GELU of GPT-2) stays ``pow`` to LLVM, which calls ``powf`` for every lane of a
vector. Products of floats round up to three times where ``powf`` rounds once.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from .graph import Rewriter, constant, op_name, rewrite_main

_EXPONENTS = (2, 3, 4)


def expand_powers(mod: tvm.IRModule) -> tvm.IRModule:
    """Write powers by 2, 3 and 4 as products.

    Rewrite
    -------
    ``power(x, 3)``  →  ``multiply(multiply(x, x), x)``, ``power(x, 4)``  →  the square of a square
    """
    return rewrite_main(mod, _Powers(mod))


@relax.expr_functor.mutator
class _Powers(Rewriter):
    def rewrite(self, call: Any) -> Any:
        exponent = constant(self.value(call.args[1])) if op_name(call) == "relax.power" else None
        if exponent is None or exponent.ndim or float(exponent) not in _EXPONENTS:
            return call
        base, times = call.args[0], float(exponent)
        square = self.emit(relax.op.multiply(base, base))
        if times == 2:
            return square
        return relax.op.multiply(square, base if times == 3 else square)
