"""The tile of a statement: what TVM unrolls, which loop becomes lanes, and what LLVM then unrolls.

Three compilers decide in turn. TVM unrolls what the schedule says and what has few statements. LLVM
makes lanes of the loop that the schedule vectorises, or else of one that it finds, with neighbours
in memory or around code that TVM has unrolled. Loops of a few of these bodies it unrolls as well::

    for h in 0..100:                     for h in 0..100:      a tile each
      for i in 0..64:                →     i, 4 times          unrolled by LLVM: few bodies
        for j in 0..2:  y[j, i] = ..         j, 2 times        unrolled by TVM: few statements
                                               16 lanes of i   found by LLVM
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .gathers import ALWAYS_UNROLLED, NEAR
from .outer_vectors import takes_outer
from .view import AccessView, FloatArray, StatementView

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Tile:
    """The innermost part of a statement at n configs: what is computed between two jumps.

    Parameters
    ----------
    unrolled : float64 array [L, n]
        1 for loops that are unrolled or run in the lanes of vectors, 0 for the others.
    lane_loops : float64 array [L, n]
        1 for the loop whose iterations are a vector's lanes, said so or found by the compiler.
    lanes : float64 array [n]
        Iterations of that loop, 1 where the statement is scalar.
    bodies : float64 array [n]
        Vectors (or scalars) computed in a tile.
    steps : float64 array [n]
        How often each accumulator is added to within a tile.
    runs : float64 array [n]
        Tiles that follow each other on the same accumulators.
    """

    unrolled: FloatArray
    lane_loops: FloatArray
    lanes: FloatArray
    bodies: FloatArray
    steps: FloatArray
    runs: FloatArray

    @property
    def is_vector(self) -> NDArray[np.bool_]:
        return self.lanes > 1

    def of(self, levels: FloatArray) -> FloatArray:
        """Take what is known at every level [L + 1, n] at the tile's: [n]."""
        value = levels[-1]
        for level in reversed(range(len(self.unrolled))):
            value = np.where(self.unrolled[level] > 0, levels[level], value)
        return value

    def stride(self, access: AccessView) -> FloatArray:
        """Elements between the lanes of an access; 0 where it is the same for all."""
        found = np.zeros(len(self.lanes))
        for position in np.flatnonzero(self.lane_loops.any(axis=1)):
            stride = access.strides[position]
            stride = np.where(np.isnan(stride), 1.0, stride)
            found = np.where(self.lane_loops[position] > 0, stride, found)
        return found


def tile_of(view: StatementView, lanes: float) -> Tile:
    """Find what is unrolled and what runs in lanes.

    Parameters
    ----------
    view : StatementView
    lanes : float
        Of a register, > 0.
    """
    by_tvm, inside = tvm_unrolls(view)
    lane_loops, outer = loops_in_lanes(view, by_tvm, inside, lanes)
    unrolled = llvm_unrolls(view, inside, lane_loops, outer, lanes)
    return _counted(view, unrolled.astype(np.float64), lane_loops.astype(np.float64), lanes)


def tvm_unrolls(view: StatementView) -> tuple[BoolArray, FloatArray]:
    """Tell what TVM unrolls: what the schedule says, and up to the statement's limit of statements.

    Returns
    -------
    by_tvm : bool array [L, n]
        True for vectorised loops and those of an intrinsic, too, of which TVM leaves no loop.
    inside : float64 array [L, n]
        Statements in a loop's body, once all in it is unrolled.
    """
    by_tvm = np.ones(view.extents.shape, dtype=np.bool_)
    inside = np.ones_like(view.extents)
    statements = np.ones(len(view.lanes))
    for position in reversed(range(len(view.extents))):
        inside[position] = statements
        kind, extent = view.statement.loops[position].kind, view.extents[position]
        if kind not in ("vectorized", "intrinsic"):
            statements = statements * extent
            by_tvm[position] = (kind == "unrolled") | (statements <= view.unroll) | (extent == 1)
    return by_tvm, inside


def loops_in_lanes(
    view: StatementView, by_tvm: BoolArray, inside: FloatArray, lanes: float
) -> tuple[BoolArray, BoolArray]:
    """Find the loop whose iterations are lanes, at most one at each config.

    The schedule's vectorised loop, unless it has one iteration. Otherwise LLVM's choice: the
    innermost loop that is left where all accesses are neighbours or stand still; but the loop
    around all that TVM has unrolled comes first, where gathers seem worth it (`outer_vectors`).

    Returns
    -------
    lane_loops : bool array [L, n]
    outer : bool array [L, n]
        Which of them are loops around what TVM has unrolled, and stay loops.
    """
    n = len(view.lanes)
    found, outer = np.zeros_like(by_tvm), np.zeros_like(by_tvm)
    free = (view.extents[view.kinds("vectorized")] <= 1).all(axis=0)
    free &= not view.statement.intrinsic or view.is_inlined
    # Of what is inside: no loop is in lanes; TVM, or one of the two, has unrolled all.
    scalar, all_by_tvm, all_unrolled = (np.ones(n, dtype=np.bool_) for _ in range(3))
    for position in reversed(range(len(view.extents))):
        extent, kind = view.extents[position], view.statement.loops[position].kind
        if kind == "intrinsic":
            continue
        chosen = scalar & (extent > 1)
        if kind != "vectorized":
            chosen &= free & all_unrolled & _joins(view, position, inside[position])
        found[position] = chosen
        scalar &= ~chosen
        if kind == "vectorized":
            continue
        if kind == "serial":
            left = free & all_by_tvm & ~by_tvm[position] & ~chosen & (inside[position] > 1)
            outer[position] = left & takes_outer(view, position, inside[position], lanes)
        all_by_tvm &= by_tvm[position]
        statements = inside[position] * extent
        all_unrolled &= _is_unrolled(view, position, statements, statements)
    return np.where(outer.any(axis=0), outer, found), outer


def llvm_unrolls(
    view: StatementView,
    inside: FloatArray,
    lane_loops: BoolArray,
    outer: BoolArray,
    lanes: float,
) -> BoolArray:
    """Tell what is unrolled in the end, lanes included: bool [L, n].

    Loops are, from the innermost on, as long as TVM or LLVM unrolls each. Lanes that LLVM found
    belong to the tile; their loop goes on over further vectors.
    """
    unrolled = np.zeros_like(lane_loops)
    still, bodies = np.ones(len(view.lanes), dtype=np.bool_), np.ones(len(view.lanes))
    for position in reversed(range(len(view.extents))):
        extent, kind = view.extents[position], view.statement.loops[position].kind
        if kind not in ("vectorized", "intrinsic"):
            bodies = bodies * np.where(lane_loops[position], np.ceil(extent / lanes), extent)
            statements = inside[position] * extent
            still = still & ~outer[position] & _is_unrolled(view, position, statements, bodies)
        unrolled[position] = still
    return unrolled


def _is_unrolled(
    view: StatementView, position: int, statements: FloatArray, bodies: FloatArray
) -> BoolArray:
    """Whether a loop is unrolled, which then is so many statements to TVM and bodies to LLVM."""
    kind, extent = view.statement.loops[position].kind, view.extents[position]
    small = (statements <= view.unroll) | (bodies <= ALWAYS_UNROLLED) | (extent == 1)
    return (kind == "unrolled") | ((kind == "serial") & small)


def _joins(view: StatementView, position: int, inside: FloatArray) -> BoolArray:
    """Whether LLVM makes vectors along a loop whose body is unrolled, for its accesses' sake."""
    loop, extent = view.statement.loops[position], view.extents[position]
    if loop.role == "reduction" or loop.kind not in ("serial", "unrolled"):
        return np.zeros(len(extent), dtype=np.bool_)
    # Of a loop around what TVM has unrolled LLVM makes vectors, however long its body.
    stays = (loop.kind == "serial") & (inside * extent > view.unroll)
    return (stays | (inside <= ALWAYS_UNROLLED)) & _neighbours(view, position)


def _counted(
    view: StatementView, unrolled: FloatArray, lane_loops: FloatArray, lanes: float
) -> Tile:
    n = len(view.lanes)
    width = np.where(lane_loops > 0, view.extents, 1.0).prod(axis=0)
    bodies, steps, runs, alive = np.ones(n), np.ones(n), np.ones(n), np.ones(n)
    for position in reversed(range(len(view.extents))):
        extent, loop = view.extents[position], view.statement.loops[position]
        if loop.kind == "intrinsic":
            continue
        inside = unrolled[position] > 0
        found = loop.kind != "vectorized"
        vectors = _vectors_of(extent, lanes) if found else np.ceil(extent / lanes)
        count = np.where(lane_loops[position] > 0, vectors, extent)
        bodies = bodies * np.where(inside, count, 1.0)
        if loop.role == "reduction":
            steps = steps * np.where(inside, extent, 1.0)
            runs = runs * np.where(inside | (alive == 0), 1.0, extent)
        else:
            alive = alive * (inside | (extent == 1))
    return Tile(unrolled, lane_loops, width, bodies, steps, runs)


def _vectors_of(extent: FloatArray, lanes: float) -> FloatArray:
    """Vectors that the compiler makes of a loop: what is left over takes one a power of two."""
    rest = np.floor(extent % lanes).astype(np.int64)
    return np.floor(extent / lanes) + np.bitwise_count(rest)


def _neighbours(view: StatementView, position: int) -> NDArray[np.bool_]:
    """Whether every access stands still or moves to a near neighbour along a loop."""
    near = np.ones(len(view.lanes), dtype=np.bool_)
    limit = 1 if view.statement.is_reduction else NEAR
    for access in view.accesses:
        near &= access.strides[position] <= limit  # not so where it is not known
    return near
