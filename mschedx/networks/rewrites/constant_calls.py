"""Calls of functions whose arguments are constants, done now.

TVM's own ``FoldConstant`` compiles a module for each of them: 40 ms each, and a network has one
call for every weight that it lays out. Here is one module for all.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, tirx
from tvm.ir import GenericConst, GlobalVar
from tvm.relax.expr_functor import mutator
from tvm.target import Target

from .graph import Rewriter, op_name, rewrite_main, shape_of


def fold_calls(mod: tvm.IRModule) -> tvm.IRModule:
    """Replace ``call_tir`` of constants in "main" by what it gives.

    Of calls one in another the inner one is done.
    """
    functions: dict[str, tirx.PrimFunc] = {}

    def visit(expr: Any) -> None:
        name = _function(expr)
        if name:
            functions[name] = mod[name]

    relax.analysis.post_order_visit(mod["main"], visit)
    if not functions:
        return mod
    named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    built = tvm.compile(tvm.IRModule(named), target=Target("llvm"))
    return rewrite_main(mod, _FoldCalls(mod, built))


@mutator
class _FoldCalls(Rewriter):
    def __init__(self, mod: tvm.IRModule, built: Any) -> None:
        super().__init__(mod)
        self.built = built

    def rewrite(self, call: Any) -> Any:
        name, shape = _function(call), shape_of(call)
        if not name or shape is None:
            return call
        result = tvm.runtime.empty(shape, str(call.ty.dtype))
        self.built[name](*(field.value for field in call.args[1].fields), result)
        return relax.const(result)


def _function(expr: Any) -> str:
    """Name of the function that an expression calls with constants; empty for any other."""
    if op_name(expr) != "relax.call_tir" or shape_of(expr) is None:
        return ""
    callee, given = expr.args[:2]
    constants = isinstance(given, relax.Tuple) and all(
        isinstance(field, GenericConst) for field in given.fields
    )
    return str(callee.name_hint) if constants and isinstance(callee, GlobalVar) else ""
