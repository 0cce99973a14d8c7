"""Inlining of which TVM computes a wrong index, kept out of our spaces."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule, ScheduleRule
from tvm.tirx import IntImm


@derived_object
class ForwardQuotients(PyScheduleRule):
    """Apply a rule that inlines, unless that makes a quotient of a falling index.

    Rewrite
    -------
    None of its own. ``a[i] = x[i // 2]; b[i] = a[7 - i]`` stays two blocks: ``x[(7 - i) // 2]`` is
    right, but TVM flattens the index to ``i // -2 + 3``, which is one less for every odd ``i``.

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
        before = _falling_quotients(sch)
        return [sch] if any(_falling_quotients(one) > before for one in found) else found

    def clone(self) -> Any:
        return ForwardQuotients(self.rule.clone())


def _falling_quotients(sch: Schedule) -> int:
    """How many quotients and remainders have a dividend that falls as an index grows."""
    import tvm_ffi

    function = next(iter(sch.mod.functions.values()))
    count = 0

    def visit(quotient: Any) -> None:
        nonlocal count
        count += _falls(quotient.a)

    tvm_ffi.structural_walk(function.body, ((tirx.FloorDiv, visit), (tirx.FloorMod, visit)))
    return count


def _falls(expr: Any) -> bool:
    """Whether a variable enters an index with a minus."""
    if isinstance(expr, tirx.Sub):
        return bool(tirx.analysis.undefined_vars(expr.b)) or _falls(expr.a)
    if isinstance(expr, tirx.Mul):
        negative = any(isinstance(side, IntImm) and int(side) < 0 for side in (expr.a, expr.b))
        return negative or _falls(expr.a) or _falls(expr.b)
    parts = (getattr(expr, "a", None), getattr(expr, "b", None))
    return any(part is not None and _falls(part) for part in parts)
