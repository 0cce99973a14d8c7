"""What holds a rule back: from blocks that are not for it, from what it would spoil, from failing.

`Guarded` is the rule that does so. The predicates it takes are functions of a schedule, here and in
`.keep_functions`, each with an example of what it keeps from being done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule
from tvm.tirx import ForKind

from mschedx.space.miscompiled import falling_quotients
from mschedx.told import pass_on

from ..annotation_keys import UNROLL_IMPLICIT
from .blocks import (
    accumulates_in_place,
    constant_extent,
    is_root,
    is_tiled,
    root_blocks,
    runs_never,
)

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.space")

Applies = Callable[[Schedule, Any], bool]
"""Whether a rule may be applied to a block."""

Keeps = Callable[[Schedule], Callable[[Schedule], bool] | None]
"""Looks at a schedule before a rule; returns what says of one after it whether all is kept that
was to be, None where there is nothing to keep."""


@derived_object
class Guarded(PyScheduleRule):
    """Apply a rule where it may be, and leave out what it spoils; what it raises costs that rule.

    Functions come from everywhere, and a rule that meets a block it does not understand is no
    reason to leave the function without any space: the block is left to the next rule. The failure
    is logged and told with the block and the reason. Where ``keeps`` looks on, the rule gets a
    copy; where nothing does, what it has changed before it raises stays changed.

    Rewrite
    -------
    The rule's, or none.

    Parameters
    ----------
    rule : ScheduleRule
    name : str
        Of the rule, for the log.
    applies : callable, optional
        See `Applies`; everywhere when None.
    keeps : sequence of callable
        See `Keeps`; what one of them says no to is left out.
    """

    def __init__(
        self, rule: Any, name: str, *, applies: Applies | None = None, keeps: Sequence[Keeps] = ()
    ) -> None:
        super().__init__()
        self.rule, self.name = rule, name
        self.applies, self.keeps = applies, tuple(keeps)

    def _initialize_with_tune_context(self, context: Any) -> None:
        self.rule._initialize_with_tune_context(context)

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        if self.applies is not None and not self.applies(sch, block):
            return [sch]
        try:
            kept = [is_kept for keeps in self.keeps if (is_kept := keeps(sch)) is not None]
            if not kept:
                return list(self.rule.apply(sch, block))
            # The rule may change what it is given.
            made = self.rule.apply(sch.copy(), block)
            return [one for one in made if all(is_kept(one) for is_kept in kept)] or [sch]
        except Exception as error:  # TVM's errors share no class, and ours would be a defect
            place = getattr(sch.get(block), "name_hint", "?")
            lines = str(error).strip().splitlines() or [repr(error)]
            line = (
                f"{self.name} does not fit block {place}, which is left to the next rule: "
                f"{type(error).__name__}: {lines[-1]}"
            )
            logger.warning("%s", line)
            pass_on(line)
            return [sch]

    def clone(self) -> Any:
        return Guarded(self.rule.clone(), self.name, applies=self.applies, keeps=self.keeps)


def not_tiled(sch: Schedule, block: Any) -> bool:
    """Apply one of TVM's rules only to functions that no rule of ours has tiled.

    Two tilings of one block are not a space anybody asked for, and annotations that a postproc
    turns into loops, by the extents it finds, would make one design space many structures. Blocks
    that accumulate in place or never run are left as they are, and so is the root around them:
    ``for i, j: c[i] = c[i] + a[i, j]`` stays as it is.
    """
    body: Any = sch.get(block)
    inside = [sch.get(child) for child in root_blocks(sch)] if is_root(sch, block) else [body]
    odd = any(accumulates_in_place(one) or runs_never(one) for one in inside)
    return not (is_tiled(sch) or odd)


def not_bound(sch: Schedule, block: Any) -> bool:
    """Apply one of TVM's rules only to blocks that no rule has bound to threads yet.

    Blocks that a tensor-core tiling leaves beside its kernel (a softmax, a second product) get
    TVM's rules; what it has tiled stays as it is, and so does a root whose unrolling it has
    decided. TVM's rules for CUDA decide about explicit unrolling only, so the implicit kind is
    ours: a root with ``meta_schedule.unroll_implicit`` gets no ``unroll_explicit``.
    """
    loops: list[Any] = [sch.get(loop) for loop in sch.get_loops(block)]
    if not loops:
        body: Any = sch.get(block)
        return UNROLL_IMPLICIT not in body.annotations
    return all(int(loop.kind) != ForKind.THREAD_BINDING for loop in loops)


def keeps_indices_rising(before: Schedule) -> Callable[[Schedule], bool]:
    """Keep inlining from making a quotient of a falling index.

    ``a[i] = x[i // 2]; b[i] = a[7 - i]`` stays two blocks, for TVM computes a wrong
    ``x[(7 - i) // 2]`` (:mod:`mschedx.space.miscompiled`).
    """
    falling = falling_quotients(before)
    return lambda after: falling_quotients(after) <= falling


def keeps_whole_blocks(before: Schedule) -> Callable[[Schedule], bool]:
    """Keep fusing from computing only a part of a block.

    ``reverse_compute_at`` moves a consumer below the tile it reads and visits the points that read
    it, no others: of a concatenation ``i < 3 ? t[i] : x[i - 3]`` the second half would never be
    written.
    """
    counts = _iterations(before)

    def is_whole(after: Schedule) -> bool:
        found = _iterations(after)
        return all(found.get(name, count) >= count for name, count in counts.items())

    return is_whole


def _iterations(sch: Schedule) -> dict[str, int]:
    """How often the loops around each block at the root run it; blocks by name."""
    counts: dict[str, int] = {}
    for block in root_blocks(sch):
        body: Any = sch.get(block)
        loops: list[Any] = [sch.get(loop) for loop in sch.get_loops(block)]
        extents = [constant_extent(loop.extent) for loop in loops]
        known = [extent for extent in extents if extent is not None]
        if len(known) == len(extents):
            counts[str(body.name_hint)] = prod(known)
    return counts
