"""What a function still holds once a rule of ours has tiled its main block."""

from __future__ import annotations

from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule, ScheduleRule
from tvm.tirx import ForKind, IterVar

from mschedx.hardware import Hardware

from .elementwise import parallelise_copy


def is_tiled(sch: Schedule) -> bool:
    """Whether some block of the function already runs in parallel.

    TVM's own rules only annotate the root, so a parallel loop in a traced schedule is ours.
    """
    return any(
        _kind(sch, loop) == ForKind.PARALLEL
        for block in _blocks(sch)
        for loop in sch.get_loops(block)
    )


def _blocks(sch: Schedule) -> list[Any]:
    function = next(iter(sch.mod.functions.values()))
    root = sch.get_sblock(function.body.block.name_hint)
    return list(sch.get_child_blocks(root))


def _kind(sch: Schedule, loop: Any) -> int:
    statement: Any = sch.get(loop)
    return int(statement.kind)


@derived_object
class UnlessTiled(PyScheduleRule):
    """Apply one of TVM's rules only to functions that no rule of ours has tiled.

    Two tilings of one block are not a space anybody asked for, and annotations that a postproc
    turns into loops, by the extents it finds, would make one design space many structures.
    """

    def __init__(self, rule: ScheduleRule) -> None:
        super().__init__()
        self.rule = rule

    def _initialize_with_tune_context(self, context: Any) -> None:
        self.rule._initialize_with_tune_context(context)

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        return [sch] if is_tiled(sch) else list(self.rule.apply(sch, block))

    def clone(self) -> Any:
        return UnlessTiled(self.rule.clone())


@derived_object
class Remainder(PyScheduleRule):
    """Run what is left at the root of a tiled function on all cores.

    Rewrite
    -------
    ``for i, j: X[i, j] = ...``  →  ``parallel i: for j0: vectorise j1: X[i, j] = ...``, for blocks
    without a reduction; a reduction keeps its order and gets its first spatial loop parallel.
    """

    def __init__(self, hardware: Hardware) -> None:
        super().__init__()
        self.hardware = hardware

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        loops = sch.get_loops(block)
        serial = bool(loops) and all(_kind(sch, loop) == ForKind.SERIAL for loop in loops)
        if not serial or not is_tiled(sch):
            return [sch]
        body: Any = sch.get(block)
        if all(iv.iter_type == IterVar.DataPar for iv in body.iter_vars):
            lanes = self.hardware.lanes(str(body.writes[0].source.dtype))
            parallelise_copy(sch, block, lanes)
        elif body.iter_vars[0].iter_type == IterVar.DataPar:
            sch.parallel(loops[0])
        return [sch]

    def clone(self) -> Any:
        return Remainder(self.hardware)
