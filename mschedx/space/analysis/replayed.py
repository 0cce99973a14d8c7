"""Numbers without an expression: read off replayed programs, a few milliseconds a config.

What an analysis lists as unresolved is not lost: the program of a config has the number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..algebra.expression import IntArray
from ..errors import InvalidSchedule
from .fit.accesses import stride_name
from .fit.numbers import UNKNOWN, Observations, observe
from .model import Analysis
from .read.executed import first_step
from .read.extract import DynamicExtent, entry, extract
from .read.lowered import lower, shape_of
from .read.program import Program

if TYPE_CHECKING:
    from ..trace.design import Design


def replayed_quantities(
    design: Design, analysis: Analysis, configs: IntArray
) -> dict[str, IntArray]:
    """Read the numbers that no expression was found for off the programs of configs [n, D].

    Returns
    -------
    dict of str to int64 array [n]
        Loop extents by the loop's name; elements that an access spans along a dimension while a
        loop runs as ``"block/buffer.read[d]@loop"``; strides, where the loop runs, as
        ``"block/buffer.read.stride@loop"``; compacted extents as ``"buffer/alloc[d]"``.
        -1 where a config does not replay, or its program has another structure.
    """
    found: dict[str, IntArray] = {}
    names = tuple(loop.name for loop in analysis.loops)
    for position, config in enumerate(configs):
        try:
            schedule = design.replay(config)
            program = extract(entry(schedule.mod))
        except (InvalidSchedule, DynamicExtent):
            continue
        if tuple(loop.name for loop in program.loops) != names:
            continue
        for name, value in (*_scheduled(analysis, program), *_allocated(analysis, schedule)):
            column = found.setdefault(name, np.full(len(configs), UNKNOWN, dtype=np.int64))
            column[position] = value
    return found


def _scheduled(analysis: Analysis, program: Program) -> Iterator[tuple[str, int]]:
    for loop, known in zip(program.loops, analysis.loops):
        if known.extent is None:
            yield loop.name, loop.extent
    seen: Observations = observe([program])
    forms = [dims for block in seen.regions for dims in block]
    concrete = [access for block in program.blocks for access in block.accesses]
    for access, own, dims in zip(analysis.accesses, concrete, forms, strict=True):
        for loop, stride in zip(access.loops, access.strides):
            if stride is None:
                yield stride_name(access, analysis.loops[loop]), first_step(program, own, loop)
        kind = "write" if access.is_write else "read"
        for d, (expressions, numbers) in enumerate(zip(access.regions, dims)):
            for level, expression in enumerate(expressions):
                if expression is None:
                    value = int(numbers.reach[0, level])
                    value = min(value, int(numbers.bound[0]))
                    at = _level(analysis, access.loops, level)
                    yield f"{access.block}/{access.buffer}.{kind}[{d}]@{at}", value


def _level(analysis: Analysis, loops: tuple[int, ...], level: int) -> str:
    return analysis.loops[loops[level]].name.split("/")[1] if level < len(loops) else "body"


def _allocated(analysis: Analysis, schedule: object) -> Iterator[tuple[str, int]]:
    wanted = [
        one
        for one in analysis.allocations
        if None in one.shape or f"{one.buffer}/alloc_bytes" in analysis.unresolved
    ]
    shapes = lower(schedule).allocations if wanted else {}
    for one in wanted:
        for d, extent in enumerate(shape_of(shapes, one.buffer) or ()):
            yield f"{one.buffer}/alloc[{d}]", extent
