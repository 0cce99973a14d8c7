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

    Of calls one in another the inner one is done. Where a function cannot be compiled for this
    machine, as one bound to threads cannot, the module is returned as it is: TVM's own pass then
    does the others, one by one.
    """
    functions: dict[str, tirx.PrimFunc] = {}

    def visit(expr: Any) -> None:
        name = _function(mod, expr)
        if name:
            functions[name] = mod[name]

    relax.analysis.post_order_visit(mod["main"], visit)
    if not functions:
        return mod
    named = {name: func.with_attr("global_symbol", name) for name, func in functions.items()}
    try:
        built = tvm.compile(tvm.IRModule(named), target=Target("llvm"))
    except Exception:  # of failed builds there are many kinds; TVM's pass ignores all of them
        return mod
    return rewrite_main(mod, _FoldCalls(mod, built))


@mutator
class _FoldCalls(Rewriter):
    def __init__(self, mod: tvm.IRModule, built: Any) -> None:
        super().__init__(mod)
        self.mod = mod
        self.built = built

    def rewrite(self, call: Any) -> Any:
        name, shape = _function(self.mod, call), shape_of(call)
        if not name or shape is None:
            return call
        result = tvm.runtime.empty(shape, str(call.ty.dtype))
        self.built[name](*(field.value for field in call.args[1].fields), result)
        return relax.const(result)


def _function(mod: tvm.IRModule, expr: Any) -> str:
    """Name of the function that an expression calls with constants; empty for any other."""
    if op_name(expr) != "relax.call_tir" or shape_of(expr) is None:
        return ""
    callee, given = expr.args[:2]
    if not isinstance(callee, GlobalVar) or not isinstance(given, relax.Tuple):
        return ""
    constants = all(isinstance(field, GenericConst) for field in given.fields)
    return str(callee.name_hint) if constants and _takes(mod[callee], len(given.fields)) else ""


def _takes(func: Any, inputs: int) -> bool:
    """Whether it is a PrimFunc of so many inputs and one output, all of constant shape."""
    return (
        isinstance(func, tirx.PrimFunc)
        and len(func.params) == inputs + 1
        and all(shape_of(parameter) is not None for parameter in func.params)
    )
