"""The design space mschedx recommends for a target."""

from __future__ import annotations

from typing import Any

from tvm.s_tir.meta_schedule.schedule_rule import ScheduleRule
from tvm.s_tir.meta_schedule.space_generator import PostOrderApply, SpaceGenerator
from tvm.target import Target

from mschedx.hardware import Hardware

from .rules.dot_tile import DotTile
from .rules.packed_tile import PackedTile
from .rules.remainder import Remainder, UnlessTiled


def for_target(target: Target | dict[str, Any] | str) -> SpaceGenerator:
    """Compose the rules for a target into a space generator.

    On ``llvm`` contractions get packed panels and register tiles, around a dot-product
    instruction where types and target allow (:class:`DotTile`) and of plain vectors elsewhere
    (:class:`PackedTile`); everything else gets TVM's own rules. On ``cuda`` the rules are TVM's.

    Parameters
    ----------
    target : Target, dict or tag
        Its ``mcpu`` decides vector length and registers.

    Returns
    -------
    SpaceGenerator
        To pass as ``space=`` to ``ms.tune_tir``, ``tune_relax`` or :func:`mschedx.tune`.

    Raises
    ------
    ValueError
        For a kind of target that is neither llvm nor cuda.
    """
    target = target if isinstance(target, Target) else Target(target)
    kind = target.kind.name
    if kind == "llvm":
        return PostOrderApply(sch_rules=_llvm_rules(target))
    if kind == "cuda":
        return PostOrderApply()
    raise ValueError(
        f'expected a target of kind "llvm" or "cuda", got "{kind}"; '
        'pass space="post-order-apply" for the rules TVM has for it'
    )


def _llvm_rules(target: Target) -> list[Any]:
    hardware = Hardware.from_target(target)
    # [ApplyCustomRule, InlineConstantScalars, AutoInline, AddRFactor, MultiLevelTiling,
    #  ParallelizeVectorizeUnroll, RandomComputeLocation]: the first three only prepare.
    custom, scalars, inline, *tiling = ScheduleRule.create("llvm")
    return [
        custom,
        scalars,
        inline,
        DotTile(target),
        PackedTile(hardware),
        Remainder(hardware),
        *(UnlessTiled(rule) for rule in tiling),
    ]
