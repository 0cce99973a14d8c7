"""What the loop around a tile repeats and LLVM does once: loads of what does not move along it.

::

    for j in 0..200:                       a0 .. a9 = A[i0, k0] .. A[i1, k4]     once, in registers
      for k, i: C[i, j] += A[i, k] * ..  →   for j in 0..200, 16 lanes:
                                               C[i, j..] += a0 * B[k0, j..] ..

In a register tile of a product the loop around it is a reduction, along which both operands move.
In TVM's space it is as often a column's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cpu_tile import Tile
from .view import AccessView, FloatArray, StatementView


@dataclass(frozen=True)
class LoopAround:
    """The innermost loop that stays one, at n configs.

    Parameters
    ----------
    position : int64 array [n]
        Among the statement's loops; -1 where none is left.
    tiles : float64 array [n]
        Its iterations, in vectors where they are lanes; 1 where none is left.
    """

    position: NDArray[np.int64]
    tiles: FloatArray

    @staticmethod
    def of(view: StatementView, tile: Tile, lanes: float) -> LoopAround:
        """Find it, within a thread.

        Parameters
        ----------
        view, tile
        lanes : float
            Of a register, > 0.
        """
        position, tiles = np.full(len(view.lanes), -1), np.ones(len(view.lanes))
        for place, extent in enumerate(view.extents):
            if view.statement.loops[place].kind in ("intrinsic", "parallel", "vectorized"):
                continue
            in_lanes = tile.lane_loops[place] > 0
            count = np.where(in_lanes, np.ceil(extent / lanes), extent)
            left = ((tile.unrolled[place] == 0) | in_lanes) & (count > 1)
            position, tiles = np.where(left, place, position), np.where(left, count, tiles)
        return LoopAround(position, tiles)

    def keeps(self, access: AccessView) -> NDArray[np.bool_]:
        """Whether an access is of the same elements in all iterations: bool [n]."""
        still = np.zeros(len(self.position), dtype=np.bool_)
        for place, stride in enumerate(access.strides):
            still |= (self.position == place) & (stride == 0)
        return still

    def share(self, kept: FloatArray, room: FloatArray) -> FloatArray:
        """Share of its loads that each iteration still does: float64 [n], in (0, 1].

        Parameters
        ----------
        kept : float64 array [n]
            Registers for all that does not move.
        room : float64 array [n]
            Registers that nothing else takes; less than none counts as none.
        """
        fits = np.clip(room / np.maximum(kept, 1.0), 0.0, 1.0)
        return 1 - fits + fits / self.tiles
