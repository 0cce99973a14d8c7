"""Names of schedule rules that nobody has registered, taken off the blocks that bear them."""

from __future__ import annotations

import logging
from typing import Any

import tvm_ffi
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.space")

_RULE = "schedule_rule"
_NO_RULE = "None"
"""What stands there of blocks that every rule is to leave as they are."""


@derived_object
class UnknownRules(PyScheduleRule):
    """Take ``schedule_rule`` off blocks where it names a rule that the target does not have.

    A block with that annotation is left to the function of this name, and no other rule is applied
    to it. TOPI names one for every pooling (``"meta_schedule.pool_max"``), which only Hexagon
    registers. TVM's ``ApplyCustomRule`` takes such a name off as well, with a warning for each
    block: after this rule it finds none. It does so in TVM 0.27 to the blocks that it visits; this
    rule, which TVM does not apply to annotated blocks, does it as it visits the root.

    Rewrite
    -------
    ::

        for i, j, k, l:                                      for i, j, k, l:
            block pool_max, schedule_rule=pool_max   ->          block pool_max
                b[i, j] = max(b[i, j], a[i + k, j + l])              b[i, j] = max(...)
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[str, ...] = ()

    def _initialize_with_tune_context(self, context: Any) -> None:
        self._keys = tuple(str(key) for key in context.target.keys)

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        for child in sch.get_child_blocks(block):
            body: Any = sch.get(child)
            rule = body.annotations.get(_RULE)
            if rule is None or str(rule) == _NO_RULE or self._is_known(str(rule)):
                continue
            logger.debug("no rule %s for block %s: mschedx's own apply", rule, body.name_hint)
            sch.unannotate(sch.get_sblock(body.name_hint), _RULE)
        return [sch]

    def _is_known(self, rule: str) -> bool:
        names = (f"s_tir.meta_schedule.{key}.{rule}" for key in self._keys)
        return any(tvm_ffi.get_global_func(name, allow_missing=True) is not None for name in names)

    def clone(self) -> Any:
        return UnknownRules()
