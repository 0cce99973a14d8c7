"""TVM's rules beside ours on a GPU."""

from __future__ import annotations

from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule, ScheduleRule
from tvm.tirx import ForKind

from ..annotation_keys import UNROLL_IMPLICIT


def is_done(sch: Schedule, block: Any) -> bool:
    """Whether the block runs on threads already, or is a root whose unrolling is decided.

    TVM's rules for CUDA decide about explicit unrolling only, so the implicit kind is ours.
    """
    loops: list[Any] = [sch.get(loop) for loop in sch.get_loops(block)]
    if not loops:
        body: Any = sch.get(block)
        return UNROLL_IMPLICIT in body.annotations
    return any(int(loop.kind) == ForKind.THREAD_BINDING for loop in loops)


@derived_object
class UnlessBound(PyScheduleRule):
    """Apply one of TVM's rules only to blocks that no rule has bound to threads yet.

    Blocks that a tensor-core tiling leaves beside its kernel (a softmax, a second product) get
    TVM's rules; what it has tiled, and the unrolling that it has decided, stay as they are.
    """

    def __init__(self, rule: ScheduleRule) -> None:
        super().__init__()
        self.rule = rule

    def _initialize_with_tune_context(self, context: Any) -> None:
        self.rule._initialize_with_tune_context(context)

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        return [sch] if is_done(sch, block) else list(self.rule.apply(sch, block))

    def clone(self) -> Any:
        return UnlessBound(self.rule.clone())
