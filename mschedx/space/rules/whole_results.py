"""Fusing that computes only a part of a block, kept out of our spaces."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule, ScheduleRule
from tvm.tirx import IntImm

from .blocks import root_blocks


@derived_object
class WholeResults(PyScheduleRule):
    """Apply a rule that fuses, and leave out what computes only a part of a block.

    Rewrite
    -------
    None of its own. ``reverse_compute_at`` moves a consumer below the tile it reads and visits the
    points that read it, no others: of a concatenation ``i < 3 ? t[i] : x[i - 3]`` the second half
    is never written.

    Parameters
    ----------
    rule : ScheduleRule
        TVM's ``MultiLevelTiling``.
    """

    def __init__(self, rule: ScheduleRule) -> None:
        super().__init__()
        self.rule = rule

    def _initialize_with_tune_context(self, context: Any) -> None:
        self.rule._initialize_with_tune_context(context)

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        before = _iterations(sch)
        found = list(self.rule.apply(sch.copy(), block))
        whole = [
            space
            for space in found
            if all(_iterations(space).get(name, count) >= count for name, count in before.items())
        ]
        return whole or [sch]

    def clone(self) -> Any:
        return WholeResults(self.rule.clone())


def _iterations(sch: Schedule) -> dict[str, int]:
    """How often the loops around each block at the root run it; blocks by name."""
    counts: dict[str, int] = {}
    for block in root_blocks(sch):
        body: Any = sch.get(block)
        loops: list[Any] = [sch.get(loop) for loop in sch.get_loops(block)]
        extents: list[Any] = [loop.extent for loop in loops]
        if all(isinstance(extent, IntImm) for extent in extents):
            counts[str(body.name_hint)] = prod(int(extent) for extent in extents)
    return counts
