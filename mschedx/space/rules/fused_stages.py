"""The CPU rule for everything that is not a register-tiled contraction."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule

from mschedx.error_text import first_line, last_line
from mschedx.hardware import Hardware

from .blocks import is_tiled
from .fused_rows import across_rows, fuse_rows
from .ragged_rows import factors
from .stages import Stage, common_rows, stages_of
from .streamed_reduction import split_reduction, stream_columns, worth_splitting
from .transposed_copy import transpose_blocks, transpose_of, turned_reads
from .turned import turn_first, turn_last, turned_operand
from .window_tile import is_window, offers, tile_window

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.space")


def fused_spaces(sch: Schedule, hw: Hardware) -> list[Schedule]:
    """Return the design spaces of :class:`FusedStages` for a function; empty when it has none."""
    stages = stages_of(sch)
    if not stages or any(_reuses(stage) for stage in stages):
        return []
    if any(not stage.spatial and worth_splitting(stage, hw) for stage in stages):
        return []  # a result without axes has no columns to stream; TVM's rules cut it in parts
    if is_window(stages):
        return _windows(sch, stages, hw)
    if len(stages) == 1 and (transpose := transpose_of(sch, stages[0], hw)) is not None:
        copied = _attempt(sch, lambda s, st: transpose_blocks(s, st[0], transpose))
        return [] if copied is None else [copied]
    rows = common_rows(stages)
    found: list[Schedule | None] = []
    few = any(_splits(sch, stage, hw) for stage in stages)
    if rows is not None and (len(stages) > 1 or stages[0].reductions):
        found.append(_attempt(sch, lambda s, st: fuse_rows(s, st, rows, hw)))
    if few or not any(found):
        found.append(_attempt(sch, lambda s, st: _one_by_one(s, st, hw)))
    if turned_reads(stages[-1]):
        found.append(_attempt(sch, lambda s, st: turn_last(s, st, hw)))
    if rows is not None and turned_operand(stages, rows) is not None:
        found.append(_attempt(sch, lambda s, st: _turn_first(s, st, rows, hw)))
    return [space for space in found if space is not None]


def _windows(sch: Schedule, stages: list[Stage], hw: Hardware) -> list[Schedule]:
    """A design space for every way in which the columns of a window may run."""
    ways = offers(sch, stages, hw)
    found = [_attempt(sch, lambda s, st, way=way: tile_window(s, st, hw, way)) for way in ways]
    return [space for space in found if space is not None]


def _attempt(sch: Schedule, build: Callable[[Any, list[Stage]], bool | None]) -> Schedule | None:
    """Build on a copy; None where that gives False, a primitive refuses, or a step fails.

    A primitive does so of an arg max that cannot be factored. What one way does not expect costs
    the function no other way.
    """
    copy = sch.copy()
    stages = stages_of(copy)
    assert stages is not None
    try:
        if build(copy, stages) is False:
            return None
    except ScheduleError as error:
        logger.info("a design space is left out that TVM refuses to make: %s", first_line(error))
        return None
    except Exception as error:  # TVM's other errors share no class, and ours would be a defect
        logger.warning(
            "a design space is left out that FusedStages fails to make: %s: %s",
            type(error).__name__,
            last_line(error),
        )
        return None
    return copy


def _turn_first(sch: Any, stages: list[Stage], rows: list[list[int]], hw: Hardware) -> bool:
    operand = turned_operand(stages, rows)
    return operand is not None and turn_first(sch, stages, operand, hw)


def _splits(sch: Any, stage: Stage, hw: Hardware) -> bool:
    return worth_splitting(stage, hw) and factors(sch.get(stage.block))


def _one_by_one(sch: Any, stages: list[Stage], hw: Hardware) -> None:
    """Every stage on all cores by itself, long sums with few results in parts."""
    for stage in stages:
        rest = stage
        if _splits(sch, stage, hw):
            part, rest = split_reduction(sch, stage)
            if across_rows([part], [list(part.spatial)]):
                stream_columns(sch, part, hw)
            else:
                fuse_rows(sch, [part], [list(part.spatial)], hw)
        fuse_rows(sch, [rest], [list(rest.spatial)], hw)


def _reuses(stage: Stage) -> bool:
    """Whether two operands each miss an axis of the other: a matrix product, no stream."""
    if not stage.reductions:
        return False
    missing = [
        {a for a in stage.spatial if stage.extents[a] > 1} - read.axes for read in stage.reads
    ]
    long = [m for m in missing if m]
    return any(not (one <= two or two <= one) for one in long for two in long)


@derived_object
class FusedStages(PyScheduleRule):
    """Tile reductions, normalisations, pooling and elementwise functions.

    Of up to three design spaces one fuses all stages under a parallel loop over the rows they share
    (:func:`fuse_rows`); where results are few and sums long, another gives every core a part of the
    sums (:func:`split_reduction`). A function without common rows is scheduled stage by stage. Sums
    over a short window that slides (pooling, depthwise convolution) are tiled for registers, in as
    many design spaces as their columns may run in ways (:func:`tile_window`); a copy that
    transposes goes through registers (:func:`transpose_blocks`), in one more space also where
    an elementwise function is fused with it (:func:`turn_last`), or a softmax or normalisation
    reads what lies the other way round (:func:`turn_first`).

    Rewrite
    -------
    ``for i, r: m[i] = ...; for i, j: y[i, j] = f(x[i, j], m[i])``  →
    ``parallel i: m = ... (in lanes); for j0: vectorise j1: y[i, j] = f(x[i, j], m)``

    Parameters
    ----------
    hardware : Hardware
        Lanes, registers, caches and cores size the decisions.
    """

    def __init__(self, hardware: Hardware) -> None:
        super().__init__()
        self.hardware = hardware

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        del block  # The stages of a function are one design.
        if is_tiled(sch):
            return [sch]
        return fused_spaces(sch, self.hardware) or [sch]

    def clone(self) -> Any:
        return FusedStages(self.hardware)
