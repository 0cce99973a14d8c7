"""What a user knows of a task, and which task it is of.

A strategy is cloned for every task of a run, and what it was restricted to is of one of them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tvm_ffi
from tvm import tirx
from tvm.s_tir import Schedule, Trace
from tvm.s_tir.stmt import SBlock

from mschedx.space.errors import EmptySpace
from mschedx.space.opening import require_same_names
from mschedx.space.trace.instructions import searched_part

from .growing import searchable, searched
from .points import Points, SketchSet

if TYPE_CHECKING:
    from tvm import IRModule

    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.search")


@dataclass(frozen=True)
class Given:
    """What the user knows of a task.

    Parameters
    ----------
    sketches, start
        As of `Strategy.restricted`.
    one_task : bool
        Whether there is no other task that programs to start from could be of.
    """

    sketches: tuple[Sketch, ...] = ()
    start: tuple[Schedule | Trace, ...] = ()
    one_task: bool = False

    def spaces(self, task: Task, mod: IRModule) -> SketchSet | None:
        """The sketches of a task as they are `searched`, or None if none is given."""
        own = [sketch for sketch in self.sketches if sketch.task.key == task.key]
        if not own:
            return None
        require_same_names(own, mod)
        try:
            return SketchSet(searchable(own, searched), None, task)
        except EmptySpace as error:
            # A plain ValueError: TVM's calling convention keeps no other class than the built-in.
            raise ValueError(f"task {task.name}: nothing to search: {error}") from None

    def first(self, space: SketchSet, mod: IRModule) -> Points:
        """The points to measure first; opens their sketches.

        Raises
        ------
        ValueError
            For a program that is of no sketch, unless it is of another function of the run.
        """
        own = [
            place
            for place, program in enumerate(self.start)
            if self.one_task or not _is_of_another(program, mod)
        ]
        if len(own) < len(self.start):
            text = "task %s: %d of %d programs to start from are of other functions"
            others = len(self.start) - len(own)
            logger.info(text, space.task.name, others, len(self.start))
        traces = [searched_part(self.start[place]) for place in own]
        found = space.resolver.resolve(traces)
        points = [space.empty()]
        for place, trace, sketch, config in zip(own, traces, found.sketch, found.configs):
            if config is None:
                raise ValueError(
                    f"expected programs of the {len(space)} sketches of {space.task.name} to start "
                    f"from, got another at position {place} of start{_named(trace, mod)}"
                )
            space.ensure_open(space.of_one_key(int(sketch)))
            points.append(space.place(int(sketch), config[None]))
        return Points.concatenate(points)


def _is_of_another(program: Schedule | Trace, mod: IRModule) -> bool:
    """Whether a program is one of another function than a module's only one.

    It is where its parameters are others, or where the first block that it takes is not there. Of
    functions that are alike in both it cannot be told.
    """
    if isinstance(program, Schedule) and _parameters(program.mod) != _parameters(mod):
        return True
    first = next((block for block, _ in _blocks_taken(searched_part(program))), None)
    return first is not None and first not in _blocks_of(mod)


def _blocks_taken(trace: Trace) -> list[tuple[str, str]]:
    """The blocks that a trace takes by their names, in order, each with its function's name."""
    taken = [inst.attrs for inst in trace.insts if inst.kind.name == "GetSBlock"]
    return [(str(block), str(function)) for block, function in taken if block != "root"]


def _blocks_of(mod: IRModule) -> set[str]:
    found: list[str] = []
    for function in mod.functions.values():
        if isinstance(function, tirx.PrimFunc):
            visit = (SBlock, lambda block: found.append(str(block.name_hint)))
            tvm_ffi.structural_walk(function.body, visit)
    return set(found)


def _parameters(mod: IRModule) -> list[list[str]]:
    """Dtype and shape of the parameters of a module's functions."""
    return [
        [str(part) for part in (param.dtype, *param.shape)]
        for function in mod.functions.values()
        if isinstance(function, tirx.PrimFunc)
        for param in function.params
    ]


def _named(trace: Trace, mod: IRModule) -> str:
    """Says which function a program was written for, where that is what is wrong with it."""
    there = {var.name_hint for var in mod.get_global_vars()}
    others = {name for _, name in _blocks_taken(trace)} - there
    if not others:
        return ""
    return f', which was written for a function called "{min(others)}" and not "{min(there)}"'
