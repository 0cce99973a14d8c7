"""Turn what users pass into a function that can be tuned, or say what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tvm import IRModule, tirx
from tvm.ir import PointerType


def normalize_mod(mod: IRModule | tirx.PrimFunc) -> IRModule:
    """Give a module with the one function to tune, named "main".

    Raises
    ------
    TypeError
        For anything but a PrimFunc or an IRModule.
    ValueError
        For a module with no or several PrimFuncs, scalar parameters, dynamic shapes, strides,
        constant offsets, and a function without blocks.
    """
    if isinstance(mod, IRModule):
        prims = {g.name_hint: f for g, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)}
        if len(prims) != 1:
            raise ValueError(
                f"expected a module with one PrimFunc, got {len(prims)} of {len(mod.functions)} "
                f"functions ({', '.join(sorted(prims)) or 'none'}); pass one PrimFunc, or tune a "
                "whole model with ms.relax_integration.tune_relax and mschedx's space, strategy, "
                "cost model, builder and runner"
            )
        mod = next(iter(prims.values()))
    if not isinstance(mod, tirx.PrimFunc):
        raise TypeError(f"expected a tirx.PrimFunc or an IRModule, got {type(mod).__name__}")
    _require_static(mod)
    _require_blocks(mod)
    # The same form that TuneContext gives it, so that stock look-ups find the records.
    named = mod.attrs and "global_symbol" in mod.attrs
    func = mod if named else mod.with_attr("global_symbol", "main")
    return IRModule({"main": func.with_attr("tirx.noalias", True)})


def _require_blocks(func: tirx.PrimFunc) -> None:
    from tvm.s_tir import Schedule

    root = func.body if type(func.body).__name__ == "SBlockRealize" else None
    if root is not None:
        schedule = Schedule(IRModule({"main": func}))
        root_rv = schedule.get_sblock(root.block.name_hint, func_name="main")
        if len(schedule.get_child_blocks(root_rv)) > 0 or root.block.name_hint != "root":
            return  # a single block that is opaque, as te.extern makes it, is the root itself
    raise ValueError(
        "the PrimFunc has no blocks, so there is nothing to schedule; it must be written with "
        "T.sblock (or te.create_prim_func) and not be lowered yet"
    )


_SCHEDULED = {
    tirx.ForKind.PARALLEL: "parallel",
    tirx.ForKind.VECTORIZED: "vectorized",
    tirx.ForKind.THREAD_BINDING: "bound to threads",
}


def scheduled_already(mod: IRModule) -> str:
    """Say which loops around blocks are parallel and so on, which no search can undo; "" if none.

    Such a function is measured as it is.
    """
    func = mod["main"]
    found = [
        f'loop "{loop.loop_var.name}" is {_SCHEDULED[loop.kind]}'
        for loop in _loops_around_blocks(func.body)
        if loop.kind in _SCHEDULED
    ]
    if not found:
        return ""
    return (
        f"the function is scheduled already ({', '.join(found[:3])}), so that there is little to "
        "search; pass it as it was before, its loops serial, and the search decides about them"
    )


def _loops_around_blocks(node: Any) -> Iterator[Any]:
    """Loops outside of all blocks but the root; what is inside belongs to the computation."""
    if isinstance(node, tirx.For):
        yield node
        yield from _loops_around_blocks(node.body)
    elif isinstance(node, tirx.SeqStmt):
        for part in node.seq:
            yield from _loops_around_blocks(part)
    elif hasattr(node, "block") and node.block.name_hint == "root":
        yield from _loops_around_blocks(node.block.body)


def _require_static(func: tirx.PrimFunc) -> None:
    for param in func.params:
        if isinstance(param.ty, PointerType):
            raise ValueError(
                f'parameter "{param.name}" is a bare pointer; tuning needs buffers with constant '
                "shapes: give it one with T.match_buffer or T.Buffer"
            )
        if not isinstance(param.ty, tirx.BufferType):
            raise ValueError(
                f'parameter "{param.name}" is a scalar; tuning needs functions of buffers with '
                "constant shapes: bind it with PrimFunc.specialize first"
            )
        dynamic = [d for d in param.shape if not isinstance(d, tirx.IntImm)]
        if dynamic:
            raise ValueError(
                f'buffer "{param.name}" has the dynamic shape {[str(d) for d in param.shape]}; '
                f"tuning needs constants: bind {', '.join(sorted({str(d) for d in dynamic}))} with "
                "PrimFunc.specialize, and tune each shape that matters"
            )
        if not _is_compact(param):
            raise ValueError(
                f'buffer "{param.name}" has the strides {[str(n) for n in param.strides]}; but '
                "arrays of trials are compact: declare it without strides, where it is part of "
                "something larger with the shape of all of it"
            )
        offset = getattr(param.elem_offset, "value", 0)  # a variable one may be any
        if offset:
            raise ValueError(
                f'buffer "{param.name}" begins {offset} elements into its array; but arrays of '
                "trials begin with their first element: declare it without elem_offset, where it "
                "is part of something larger with the shape of all of it"
            )


def _is_compact(buffer: Any) -> bool:
    """Whether elements may lie row after row without gaps; a variable stride may be any."""
    shape = [int(n) for n in buffer.shape]
    compact = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
    constant = [getattr(stride, "value", None) for stride in buffer.strides]
    return all(stride in (None, step) for stride, step in zip(constant, compact))
