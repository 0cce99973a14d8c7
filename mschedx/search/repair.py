"""Repair: what edits have broken, put right as far as single tables go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .points import IntArray, Points, SketchSet

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch


def snapped(sketch: Sketch, configs: IntArray) -> IntArray:
    """Snap every tile of configs [n, D] to the nearest row of its table, in log distance.

    Constraints between tables are not looked at; `Sketch.nearest` does.
    """
    repaired = configs.copy()
    for table in sketch.design.tables:
        columns = list(table.columns)
        if len(columns) < 2:
            continue
        wanted, have = np.log2(np.maximum(configs[:, columns], 1)), np.log2(table.rows)
        distance = np.abs(wanted[:, None, :] - have[None, :, :]).sum(axis=2)
        repaired[:, columns] = table.rows[distance.argmin(axis=1)]
    return repaired


def valid_or(space: SketchSet, points: Points, instead: Points) -> Points:
    """Replace every point [n] that breaks a constraint by the one at its place in ``instead``."""
    valid = space.is_valid(points)[:, None]
    return Points(points.sketch, np.where(valid, points.configs, instead.configs))
