"""Preferences of a CPU: register tiles that fit and fill the register file, work for every core.

They read the loops a rule unrolled and vectorised itself; spaces that leave this to a postproc
(TVM's own) get no advice here.
"""

from __future__ import annotations

from collections.abc import Sequence

from mschedx.hardware import Hardware

from ...algebra.constraints import Constraint, at_least, at_most
from ...algebra.expression import Expression, add, multiply
from ...statements import Statement

FMA_LATENCY = 4
"""Cycles until a multiply-add's result can be added to again (Zen, Skylake and newer)."""


def cpu_preferences(statements: Sequence[Statement], hardware: Hardware) -> list[Constraint]:
    """Advice for every reduction whose innermost loops are unrolled or vectorised."""
    advice: list[Constraint] = []
    for statement in statements:
        tile = _tile_loops(statement)
        if not statement.is_reduction or not tile:
            continue
        vectors = multiply(*tile)
        # The innermost loop of a tile runs over the panel's vectors: each is held in a register
        # while the rows' elements pass by, one at a time, broadcast.
        needed = add(vectors, tile[0], 1)
        origin = f"{statement.name}: the tile stays in the {hardware.vector_registers} registers"
        advice.append(at_most(needed, hardware.vector_registers, origin))
        cores = statement.parallel_extent()
        if cores is not None and any(loop.kind == "parallel" for loop in statement.loops):
            origin = f"{statement.name}: every one of {hardware.cores} cores has work"
            advice.append(at_least(cores, hardware.cores, origin))
        if not any(loop.role == "reduction" and loop.kind == "serial" for loop in statement.loops):
            continue  # straight code is short, and the next tile does not wait for its sums
        chains = FMA_LATENCY * hardware.fma_ports
        origin = f"{statement.name}: {chains} independent sums keep the multiply-adders busy"
        advice.append(at_least(vectors, chains, origin))
    return advice


def _tile_loops(statement: Statement) -> list[Expression]:
    """Extents of a block's innermost unrolled loops, the innermost first.

    Those of a reduction add to the same sums, and count for none.
    """
    tile: list[Expression] = []
    for loop in reversed(statement.loops):
        if loop.extent is None or loop.kind not in ("unrolled", "vectorized"):
            break
        # A vectorised loop of ours is one register long, or shorter; an intrinsic hides its lanes.
        if loop.kind == "unrolled" and loop.role != "reduction":
            tile.append(loop.extent)
    return tile
