"""A rule that fails on a block leaves the block to the next rule."""

from __future__ import annotations

import logging
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.space")


@derived_object
class UnlessItFails(PyScheduleRule):
    """Apply a rule; whatever it raises costs that rule on that block, not the run.

    Functions come from everywhere, and a rule that meets a block it does not understand is no
    reason to leave the function without any space. The failure is logged with the block and the
    reason. Rules copy a schedule before they change it, so that it is as it was.

    Parameters
    ----------
    rule : ScheduleRule
    name : str
        Of the rule, for the log.
    """

    def __init__(self, rule: Any, name: str) -> None:
        super().__init__()
        self.rule, self.name = rule, name

    def _initialize_with_tune_context(self, context: Any) -> None:
        self.rule._initialize_with_tune_context(context)

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        try:
            return list(self.rule.apply(sch, block))
        except Exception as error:  # TVM's errors share no class, and ours would be a defect
            place = getattr(sch.get(block), "name_hint", "?")
            lines = str(error).strip().splitlines() or [repr(error)]
            logger.warning(
                "%s does not fit block %s, which is left to the next rule: %s: %s",
                self.name,
                place,
                type(error).__name__,
                lines[-1],
            )
            return [sch]

    def clone(self) -> Any:
        return UnlessItFails(self.rule.clone(), self.name)
