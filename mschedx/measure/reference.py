"""What verification needs to know of the unscheduled program, and how to run it fast enough."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from .tolerance import Precision

_REDUCE = 2  # tirx.IterVar.CommReduce


def precision(mod: Any) -> Precision:
    """Reductions and written dtypes of a module of unscheduled PrimFuncs."""
    import tvm_ffi
    from tvm.s_tir import SBlock

    reductions: list[tuple[str, int]] = []
    dtypes: list[str] = []

    def visit(block: Any) -> None:
        written = [str(region.source.dtype) for region in block.writes]
        dtypes.extend(written)
        extents = [int(v.dom.extent) for v in block.iter_vars if int(v.iter_type) == _REDUCE]
        if extents:
            reductions.extend((dtype, math.prod(extents)) for dtype in written)

    for function in mod.functions.values():
        tvm_ffi.structural_walk(function.body, (SBlock, visit))
    return Precision(tuple(reductions), tuple(dtypes))


def quick(mod: Any) -> Any:
    """Return the same program with its outermost loops parallel and its reductions cache-friendly.

    Only loops over independent elements are moved or made parallel, each step checked by TVM, so
    every element is computed by the same operations in the same order. A step that does not apply
    is left out; at worst this is the program as it was given.
    """
    from tvm.s_tir import Schedule
    from tvm.s_tir.schedule import ScheduleError

    sch = Schedule(mod, error_render_level="none")
    for global_var in mod.get_global_vars():
        sch.work_on(global_var.name_hint)
        for block in sch.get_child_blocks(sch.get_sblock("root")):
            with contextlib.suppress(ScheduleError):
                _hurry(sch, block)
    return sch.mod


def _hurry(sch: Any, block: Any) -> None:
    loops = sch.get_loops(block)
    kinds = [int(v.iter_type) for v in sch.get(block).iter_vars]
    if not loops or len(loops) != len(kinds):
        return
    reduce = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _REDUCE]
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind != _REDUCE]
    if spatial:
        sch.parallel(spatial[0])
    if reduce and len(spatial) > 1:
        sch.reorder(*spatial[:-1], *reduce, spatial[-1])
        sch.decompose_reduction(block, reduce[0])
