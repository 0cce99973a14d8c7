"""Points that LLVM would be busy with for tens of seconds, known before they are built.

A search that likes large tiles finds them by the dozen in TVM's CPU space, where vectors run along
the columns of the result whatever the operands: tiles of 64 rows by 64 columns of which every
vector is gathered, in one block. None that was measured was fast, for no register holds them.
`TaskSearch` holds them back until the space has no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mschedx.cost.analytical.gathers import gathered_lanes
from mschedx.cost.analytical.view import ProgramView
from mschedx.cost.base import MOST_ANALYSED
from mschedx.cost.per_sketch import PerSketch
from mschedx.hardware import Hardware

from .points import BoolArray, FloatArray, Points, SketchSet

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch

MOST_EFFORT = 16384.0
"""Gathered lanes (`gathered_lanes`) above which a point is held back (docs/findings.md)."""


class BuildEffort:
    """How long points of a task take to compile, as far as it can be told.

    Parameters
    ----------
    space : SketchSet
        Of a CPU or a GPU; only for the former is anything known.
    most : float
        Effort above which `is_great` holds.
    """

    def __init__(self, space: SketchSet, most: float = MOST_EFFORT) -> None:
        self._space, self._most = space, most
        self._vector_bytes = _vector_bytes(space)
        self._program = PerSketch(_view)

    def is_great(self, points: Points) -> BoolArray:
        """Which of points [n] take longer than is worth waiting for; bool [n]."""
        return self.of(points) > self._most

    def of(self, points: Points) -> FloatArray:
        """The effort of points [n]; 0 where it is not known: float64 [n].

        Statements are asked for where they are known, or where few sketches would be analysed.
        """
        effort = np.zeros(len(points))
        if self._vector_bytes is None:
            return effort
        for s, positions, configs in self._space.groups(points):
            sketch = self._space.sketches[s]
            if sketch.is_analysed or len(self._space) <= MOST_ANALYSED:
                program = self._program(sketch)(configs)
                effort[positions] = gathered_lanes(program, self._vector_bytes)
        return effort


def _view(sketch: Sketch) -> ProgramView:
    return ProgramView(sketch.statements, sketch.analysis.allocations)


def _vector_bytes(space: SketchSet) -> int | None:
    """Bytes of a CPU's register; None for other devices."""
    target = space.task.target
    if target is None or target.kind.name != "llvm":
        return None
    return Hardware.from_target(target).vector_bytes
