"""Outputs of a network in memory that nothing else uses.

A network returns an input, a constant, a view of either, or one tensor twice as it is: whoever
writes to such an output writes to the caller's tensor, to the network's weights, or to another
output. These outputs are copied, and no others::

    def main(x):                    def main(x):
        y = f(x)                        y = f(x)
        return x, y, y         →        return copied(x), y, copied(y)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax, te, tirx
from tvm.ir import TupleGetItem
from tvm.s_tir import Schedule
from tvm.target import Target

from mschedx.measure.reference import quick

from .graph import op_name, shape_of

_MADE = ("relax.call_tir", "relax.call_dps_packed")
"""Calls whose results are new."""
_RUN = "relax.run."
"""How TVM names its functions whose results have shapes that depend on values (`nonzero`)."""
_VIEWS = ("relax.reshape", "relax.memory.view", "relax.memory.ensure_zero_offset")


def own_outputs(mod: tvm.IRModule, target: Target) -> tvm.IRModule:
    """Copy the outputs of "main" that are not its own.

    Parameters
    ----------
    mod : IRModule
        A Relax function "main" that calls functions that are scheduled.
    target : Target
    """
    main = mod["main"]
    values = {one.var: one.value for block in main.body.blocks for one in block.bindings}
    outputs = _Outputs(values, relax.BlockBuilder(mod), target)
    result = outputs.own(main.body.body)
    if not outputs.copies:
        return mod
    blocks = [*main.body.blocks, relax.BindingBlock(outputs.bindings)]
    body = relax.SeqExpr(blocks, result)
    owned = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
    outputs.builder.update_func(mod.get_global_var("main"), owned)
    return outputs.builder.get()


class _Outputs:
    """What "main" returns, written anew.

    Parameters
    ----------
    values : mapping of Var to Expr
        What the variables of "main" are bound to.
    builder : BlockBuilder
        Of the module.
    target : Target

    Attributes
    ----------
    bindings : list of VarBinding
        What has to stand behind "main".
    copies : int
    """

    def __init__(self, values: Any, builder: relax.BlockBuilder, target: Target) -> None:
        self.builder, self.bindings, self.copies = builder, [], 0
        self._values, self._target = dict(values), target
        self._returned: list[Any] = []

    def own(self, expr: Any) -> Any:
        """What to return in place of an output, or a tuple of them."""
        if isinstance(expr.ty, relax.TupleType):
            return relax.Tuple([self.own(one) for one in self._fields(expr)])
        if not isinstance(expr.ty, relax.TensorType):
            return expr
        origin = self._origin(expr)
        is_own = origin is not None and not any(map(origin.is_same, self._returned))
        if origin is not None:
            self._returned.append(origin)
        return expr if is_own else self._copied(expr)

    def _fields(self, expr: Any) -> list[Any]:
        if isinstance(expr, relax.Tuple):
            return list(expr.fields)
        types = enumerate(expr.ty.fields)
        return [self._bound(TupleGetItem(expr, place), ty) for place, ty in types]

    def _origin(self, expr: Any) -> _Origin | None:
        """What made a tensor; None where nothing did, or something that is not known."""
        path: list[int] = []
        while True:
            if isinstance(expr, relax.Var) and expr in self._values:
                expr = self._values[expr]
            elif isinstance(expr, TupleGetItem):
                path.append(int(expr.index))
                expr = expr.tuple_value
            elif isinstance(expr, relax.Tuple):
                expr = expr.fields[path.pop()]
            elif op_name(expr) in _VIEWS:
                expr = expr.args[0]
            else:
                return _Origin(expr, tuple(path)) if _is_made(expr) else None

    def _copied(self, expr: Any) -> Any:
        shape = shape_of(expr)
        if shape is None:
            raise ValueError(f"expected outputs of constant shape, got {expr.ty}")
        copy = self.builder.add_func(_copy(shape, str(expr.ty.dtype), self._target), "copied")
        self.copies += 1
        given = relax.Tuple([expr])
        return self._bound(relax.call_tir(copy, given, expr.ty), expr.ty)

    def _bound(self, expr: Any, ty: Any) -> relax.Var:
        variable = relax.Var(f"own{len(self.bindings)}", ty)
        self.bindings.append(relax.VarBinding(variable, expr))
        self._values[variable] = expr
        return variable


def _is_made(expr: Any) -> bool:
    """Whether an expression is a call whose results are new."""
    if op_name(expr) != "relax.call_pure_packed":
        return op_name(expr) in _MADE
    called = expr.args[0]
    return isinstance(called, relax.ExternFunc) and str(called.global_symbol).startswith(_RUN)


@dataclass(frozen=True)
class _Origin:
    """A call, and which of its results."""

    call: Any
    path: tuple[int, ...]

    def is_same(self, other: _Origin) -> bool:
        return self.path == other.path and self.call.same_as(other.call)


def _copy(shape: tuple[int, ...], dtype: str, target: Target) -> tirx.PrimFunc:
    """A function that copies a tensor, scheduled."""
    given = te.placeholder(shape, dtype, "given")
    copy: Any = te.compute(shape, lambda *at: given(*at), "copy")
    func = te.create_prim_func([given, copy])
    mod = tvm.IRModule({"main": func})
    if target.kind.name == "llvm":
        return _named(quick(mod))
    sch: Any = Schedule(mod)
    block = sch.get_sblock("copy")
    loops = sch.get_loops(block)
    whole = sch.fuse(*loops) if loops else sch.add_unit_loop(block)
    blocks, threads = sch.split(whole, [None, 256])
    sch.bind(blocks, "blockIdx.x")
    sch.bind(threads, "threadIdx.x")
    return _named(sch.mod)


def _named(mod: Any) -> tirx.PrimFunc:
    return mod["main"].with_attr("tirx.is_scheduled", True).without_attr("global_symbol")
