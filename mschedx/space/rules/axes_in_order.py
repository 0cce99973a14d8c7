"""Reductions whose loops are written before those of their results, or not as memory lies."""

from __future__ import annotations

from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule
from tvm.tirx import IterVar

from .block_access import BlockAccess
from .blocks import has_own_loops
from .contraction import match_contraction
from .stages import stage_of


def axes_in_order(sch: Any, block: Any) -> list[int] | None:
    """The order of a reduction's axes that rules expect; None where they are in it, or must stay.

    First the axes of the results, as they are. Behind them what is reduced: of a contraction as it
    is, of any other stage as the operand with most axes holds it, so that its last dimensions are
    the innermost loops.

    Parameters
    ----------
    sch : Schedule
    block : SBlockRV
        One in loops of its own, or it stays as it is.
    """
    body = sch.get(block)
    kinds = [iv.iter_type for iv in body.iter_vars]
    known = set(kinds) <= {IterVar.DataPar, IterVar.CommReduce}
    # What accumulates without an init is no reduction to TVM.
    if not known or body.init is None or not has_own_loops(sch, block):
        return None
    results = [axis for axis, kind in enumerate(kinds) if kind == IterVar.DataPar]
    reduced = [axis for axis, kind in enumerate(kinds) if kind == IterVar.CommReduce]
    stage = stage_of(sch, block) if match_contraction(body) is None else None
    if stage is not None and stage.stream is not None:
        stream = stage.stream
        reduced.sort(key=lambda axis: _place(stream, axis))
    order = [*results, *reduced]
    return None if order == list(range(len(kinds))) else order


def _place(access: BlockAccess, axis: int) -> int:
    """The first dimension whose index reads an axis; -1 where none does."""
    return next((dim for dim, axes in enumerate(access.dims) if axis in axes), -1)


@derived_object
class AxesInOrder(PyScheduleRule):
    """Bring the axes of every reduction, and its loops, into the order that other rules expect.

    TE puts what is reduced last; people who write TensorIR also go through a matrix row by row, and
    add each to the sums of its columns. It comes before all rules that look at loops.

    Rewrite
    -------
    ``for r, j: y[j] += x[r, j]``  →  ``for j, r: y[j] += x[r, j]``

    and ``for i, s, r: y[i] += x[i, r, s]``  →  ``for i, r, s: y[i] += x[i, r, s]``
    """

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        order = axes_in_order(sch, block)
        if order is None:
            return [sch]
        ordered: Any = sch.copy()
        loops = ordered.get_loops(block)
        try:
            ordered.reorder(*(loops[axis] for axis in order))
            ordered.reorder_block_iter_var(block, order)
        except ScheduleError:  # another block shares some of its loops
            return [sch]
        return [ordered]

    def clone(self) -> Any:
        return AxesInOrder()
