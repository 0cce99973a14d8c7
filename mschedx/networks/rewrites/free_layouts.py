"""Which parameters of a network's functions are weights, whose layout schedules may choose."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, tirx

from mschedx.compat import FREE_LAYOUTS

from .graph import shape_of


def free_layouts(mod: tvm.IRModule) -> tvm.IRModule:
    """Mark every parameter that is a constant matrix, or more, wherever "main" calls its function.

    Unlike TVM's ``AttachAttrLayoutFreeBuffers`` this keeps the functions' names, and leaves out
    vectors, which have no layout to choose.
    """
    free = _constants(mod["main"])
    marked = tvm.IRModule(dict(mod.functions_items()), attrs=mod.attrs)
    for name, positions in free.items():
        func = mod[name]
        if positions and isinstance(func, tirx.PrimFunc):
            place = marked.get_global_var(name)
            marked.update_func(place, func.with_attr(FREE_LAYOUTS, sorted(positions)))
    return marked


def _constants(main: Any) -> dict[str, set[int]]:
    """By function, the positions of arguments that are such constants in every call."""
    found: dict[str, set[int]] = {}

    def visit(expr: Any) -> None:
        if not isinstance(expr, relax.Call) or not expr.args:
            return
        callee = expr.args[0]
        if not isinstance(callee, tvm.ir.GlobalVar) or not isinstance(expr.args[1], relax.Tuple):
            return
        here = {place for place, arg in enumerate(expr.args[1].fields) if _is_weight(arg)}
        name = str(callee.name_hint)
        found[name] = found[name] & here if name in found else here

    relax.analysis.post_order_visit(main, visit)
    return found


def _is_weight(arg: Any) -> bool:
    shape = shape_of(arg) if isinstance(arg, tvm.ir.GenericConst) else None
    return shape is not None and sum(extent > 1 for extent in shape) >= 2
