"""Inlining of which TVM computes a wrong index, kept out of our spaces."""

from __future__ import annotations

from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule, ScheduleRule

from mschedx.space.miscompiled import falling_quotients


@derived_object
class ForwardQuotients(PyScheduleRule):
    """Apply a rule that inlines, unless that makes a quotient of a falling index.

    Rewrite
    -------
    None of its own. ``a[i] = x[i // 2]; b[i] = a[7 - i]`` stays two blocks, for TVM computes a
    wrong ``x[(7 - i) // 2]`` (:mod:`mschedx.space.miscompiled`).

    Parameters
    ----------
    rule : ScheduleRule
        TVM's ``AutoInline``.
    """

    def __init__(self, rule: ScheduleRule) -> None:
        super().__init__()
        self.rule = rule

    def _initialize_with_tune_context(self, context: Any) -> None:
        self.rule._initialize_with_tune_context(context)

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        # The rule may change what it is given.
        found = list(self.rule.apply(sch.copy(), block))
        before = falling_quotients(sch)
        return [sch] if any(falling_quotients(one) > before for one in found) else found

    def clone(self) -> Any:
        return ForwardQuotients(self.rule.clone())
