"""Repair: what edits have broken, put right as far as single tables go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mschedx.space.sampling.octaves import octaves

from .points import IntArray, Points, SketchSet

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch


_ELEMENTS = 1 << 22
"""Of the arrays in which configs are compared with all rows of a table."""


def snapped(sketch: Sketch, configs: IntArray) -> IntArray:
    """Snap every tile of configs [n, D] to the nearest row of its table, in octaves.

    Constraints between tables are not looked at; `Sketch.nearest` does.
    """
    repaired = configs.copy()
    for table in sketch.design.tables:
        columns = list(table.columns)
        if len(columns) < 2:
            continue
        wanted, have = octaves(table.rows, configs[:, columns]), octaves(table.rows, table.rows)
        step = max(1, _ELEMENTS // have.size)
        for i in range(0, len(wanted), step):
            distance = np.abs(wanted[i : i + step, None, :] - have).sum(axis=2)
            repaired[i : i + step, columns] = table.rows[distance.argmin(axis=1)]
    return repaired


def valid_or(space: SketchSet, points: Points, instead: Points) -> Points:
    """Replace every point [n] that breaks a constraint by the one at its place in ``instead``."""
    valid = space.is_valid(points)[:, None]
    return Points(points.sketch, np.where(valid, points.configs, instead.configs))
