"""What a function still holds once a rule of ours has tiled its main block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule, ScheduleError
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule
from tvm.tirx import ForKind, IterVar

from mschedx.hardware import Hardware

from .blocks import accumulates_in_place, is_parameter, is_root, is_tiled, root_blocks
from .elementwise import parallelise_copy
from .fused_rows import fuse_rows
from .stages import common_rows, stage_of


def _name(sch: Schedule, block: Any) -> str:
    body: Any = sch.get(block)
    return str(body.name_hint)


def _kind(sch: Schedule, loop: Any) -> int:
    statement: Any = sch.get(loop)
    return int(statement.kind)


@derived_object
class Remainder(PyScheduleRule):
    """Run what is left at the root of a tiled function on all cores.

    Rewrite
    -------
    ``for i, j: X[i, j] = ...``  →  ``parallel i: for j0: vectorise j1: X[i, j] = ...``, for blocks
    without a reduction. Neighbouring blocks of which some reduce (the softmax between the two
    products of attention) are fused along their common rows (:func:`fuse_rows`); what does not fit
    keeps its order and gets its first spatial loop parallel.
    """

    def __init__(self, hardware: Hardware) -> None:
        super().__init__()
        self.hardware = hardware
        self.mod: Any = None

    def _initialize_with_tune_context(self, context: Any) -> None:
        self.mod = context.mod

    def apply(self, sch: Schedule, block: Any) -> list[Schedule]:
        if not is_root(sch, block) or not is_tiled(sch):
            return [sch]
        for names in _serial_runs(sch):
            sch = self._fused(sch, names) or self._each(sch, names)
        return [sch]

    def _fused(self, sch: Schedule, names: Sequence[str]) -> Schedule | None:
        """The blocks as stages under one loop; None where none reduces or they do not fit."""
        if not _needed_by_last_only(sch, names):
            return None
        sch = self._copy(sch)
        stages = [stage_of(sch, sch.get_sblock(name)) for name in names]
        whole = [stage for stage in stages if stage is not None]
        if len(whole) < len(stages) or not any(stage.reductions for stage in whole):
            return None
        last = whole[-1]
        # TVM's cache_write survives neither a result of the function that is read again, nor a
        # reader that has matched the buffer to an intrinsic's operand.
        if is_parameter(sch, last.writes[0]) and sch.get_consumers(last.block):
            return None
        if _is_matched(sch, last.writes[0]):
            return None
        rows = common_rows(whole)
        if rows is None:
            return None
        try:
            fuse_rows(sch, whole, rows, self.hardware)
        except ScheduleError:
            return None
        return sch

    def _copy(self, sch: Schedule) -> Schedule:
        """The schedule anew: ``Schedule.copy`` fails once a lane has been tensorised."""
        fresh = Schedule(self.mod)
        trace: Any = sch.trace
        trace.apply_to_schedule(fresh, remove_postproc=True)
        return fresh

    def _each(self, sch: Schedule, names: Sequence[str]) -> Schedule:
        """Every block by itself; one that TVM refuses to run in parallel stays as it is."""
        for name in names:
            sch = self._fused(sch, [name]) or self._alone(sch, name) or sch
        return sch

    def _alone(self, sch: Schedule, name: str) -> Schedule | None:
        """A block's loops in parallel; None where TVM refuses."""
        sch = self._copy(sch)
        block = sch.get_sblock(name)
        body: Any = sch.get(block)
        try:
            if all(iv.iter_type == IterVar.DataPar for iv in body.iter_vars):
                parallelise_copy(sch, block, self.hardware.lanes(str(body.writes[0].source.dtype)))
            elif body.iter_vars[0].iter_type == IterVar.DataPar and not accumulates_in_place(body):
                sch.parallel(sch.get_loops(block)[0])
        except ScheduleError:
            return None
        return sch

    def clone(self) -> Any:
        return Remainder(self.hardware)


def _needed_by_last_only(sch: Schedule, names: Sequence[str]) -> bool:
    """Whether nothing outside reads what the blocks before the last one make.

    Otherwise they cannot move below its loops, and a primitive that fails half way may leave the
    original of a copied schedule unusable.
    """
    readers = {
        _name(sch, reader)
        for name in names[:-1]
        for reader in sch.get_consumers(sch.get_sblock(name))
    }
    return readers <= set(names)


def _is_matched(sch: Any, buffer: Any) -> bool:
    """Whether a block has matched part of a buffer to an operand of its intrinsic."""
    matched = (one for block in root_blocks(sch) for one in sch.get(block).match_buffers)
    return any(one.source.source.same_as(buffer) for one in matched)


def _serial_runs(sch: Schedule) -> list[list[str]]:
    """Names of the blocks whose loops are serial, those without another between them together."""
    runs: list[list[str]] = [[]]
    for block in root_blocks(sch):
        loops = sch.get_loops(block)
        if loops and all(_kind(sch, loop) == ForKind.SERIAL for loop in loops):
            runs[-1].append(_name(sch, block))
        else:
            runs.append([])
    return [run for run in runs if run]
