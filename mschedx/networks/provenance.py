"""What rounding may change of a network's outputs, read off its module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax, tirx

from mschedx.measure.provenance import Provenance, provenances, unread

from .rewrites.graph import op_name
from .tasks import called_functions


def output_provenances(mod: tvm.IRModule) -> tuple[Provenance, ...]:
    """Provenance of each output of "main", in the order in which a run gives them.

    Parameters
    ----------
    mod : IRModule
        A fused network. What calls no PrimFunc counts by the dtypes of what it takes and gives.
    """
    main = mod["main"]
    reading = _Reading(mod)
    for block in main.body.blocks:
        for binding in block.bindings:
            reading.held[binding.var] = reading.tree(binding.value)
    return tuple(_leaves(reading.tree(main.body.body)))


def unread_provenances(mods: Sequence[tvm.IRModule], outputs: Sequence[Any]) -> list[Provenance]:
    """Provenance of output arrays of a network that is several fused modules.

    Integers may be decided by floats as soon as a function of them computes any.
    """
    functions = [func for mod in mods for _, func, _ in called_functions(mod)]
    buffers = [param for func in functions for param in func.params]
    floats = any("float" in str(buffer.dtype) for buffer in buffers)
    whole = Provenance.DECIDED if floats else Provenance.EXACT
    return [whole if one.dtype.kind in "iub" else Provenance.COMPUTED for one in outputs]


class _Reading:
    """What is known of the variables of "main": a provenance, or a list of them for a tuple."""

    def __init__(self, mod: tvm.IRModule) -> None:
        self.held: dict[Any, Any] = {}
        self._mod = mod

    def tree(self, expr: Any) -> Any:
        if isinstance(expr, relax.Tuple):
            return [self.tree(field) for field in expr.fields]
        if isinstance(expr, relax.TupleGetItem):
            found = self.tree(expr.tuple_value)
            return found[int(expr.index)] if isinstance(found, list) else found
        if isinstance(expr, relax.Var):
            return self.held.get(expr, Provenance.EXACT)
        if not isinstance(expr, relax.Call):
            return Provenance.EXACT
        return self._call(expr)

    def _call(self, call: relax.Call) -> Any:
        function = self._mod[call.args[0]] if op_name(call) == "relax.call_tir" else None
        if not isinstance(function, tirx.PrimFunc):
            largest = max(
                (one for arg in call.args for one in _leaves(self.tree(arg))),
                default=Provenance.EXACT,
            )
            floats = any(_has_floats(getattr(arg, "ty", None)) for arg in call.args)
            return _by_type(call.ty, largest, floats=floats)
        given = tuple(_leaves(self.tree(call.args[1])))
        made = list(provenances(function, given)[len(given) :])
        return made if isinstance(call.ty, relax.TupleType) else made[0]


def _by_type(ty: Any, largest: Provenance, *, floats: bool) -> Any:
    """What a function that cannot be read makes of what it takes."""
    if isinstance(ty, relax.TupleType):
        return [_by_type(field, largest, floats=floats) for field in ty.fields]
    return unread(largest, floats=floats, into_floats=_has_floats(ty))


def _has_floats(ty: Any) -> bool:
    if isinstance(ty, relax.TupleType):
        return any(map(_has_floats, ty.fields))
    return "float" in str(getattr(ty, "dtype", ""))


def _leaves(tree: Any) -> list[Provenance]:
    if not isinstance(tree, list):
        return [tree]
    return [leaf for one in tree for leaf in _leaves(one)]
