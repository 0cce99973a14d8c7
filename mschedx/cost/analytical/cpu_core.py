"""Cycles that one core of a CPU spends in a statement while its data are in the first cache.

The body of a statement is a *tile*: what its unrolled and vectorised inner loops compute. A tile's
vectors are counted against registers, arithmetic units, load and store ports, the front end, and
the latency of the chain of additions to each accumulator; the slowest of these is its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .machine import CpuMachine
from .view import AccessView, FloatArray, StatementView

CYCLES: Mapping[str, float] = {
    "float.div": 8.0,
    "int.div": 4.0,
    "float.compare": 0.5,
    "select": 0.5,
    "cast": 0.5,
    "call.exp": 12.0,
    "call.tanh": 20.0,
    "call.erf": 20.0,
    "call.sigmoid": 16.0,
    "call.sqrt": 10.0,
    "call.rsqrt": 10.0,
}
"""Issue cycles of a vector operation on one unit, where not those of a multiply-add (vendor tables,
rounded); index arithmetic ("int.*") is taken as free beside floating point."""

SCALAR_CALL = 18.0
"""Cycles of a scalar call of the C library's functions."""


_NEAR = 4
"""Elements between neighbours up to which LLVM makes vectors by shuffling."""


@dataclass(frozen=True)
class CoreTime:
    """Cycles per run of the loops inside a task, by cause; float64 arrays [n]."""

    arithmetic: FloatArray
    loads: FloatArray
    stores: FloatArray
    chain: FloatArray
    issue: FloatArray
    serial: FloatArray

    @property
    def cycles(self) -> FloatArray:
        """The slowest cause, and what nothing overlaps with: spills, and jumps."""
        slowest = np.maximum.reduce(
            [self.arithmetic, self.loads, self.stores, self.chain, self.issue]
        )
        return slowest + self.serial


@dataclass(frozen=True)
class Tile:
    """The unrolled part of a statement at n configs.

    Parameters
    ----------
    unrolled : float64 array [L, n]
        1 for loops that are unrolled or vectorised, 0 for the others.
    bodies : float64 array [n]
        Vector (or scalar) bodies in a tile.
    steps : float64 array [n]
        How often each accumulator is added to within a tile.
    runs : float64 array [n]
        Tiles that follow each other on the same accumulators.
    """

    unrolled: FloatArray
    bodies: FloatArray
    steps: FloatArray
    runs: FloatArray

    def of(self, levels: FloatArray) -> FloatArray:
        """Take what is known at every level [L + 1, n] at the tile's: [n]."""
        value = levels[-1]
        for level in reversed(range(len(self.unrolled))):
            value = np.where(self.unrolled[level] > 0, levels[level], value)
        return value


def tile_of(view: StatementView, lanes: float) -> Tile:
    """Find the unrolled loops: those said so, and those TVM unrolls up to the statement's limit."""
    loops = view.statement.loops
    unrolled = np.zeros_like(view.extents)
    going = np.ones(view.extents.shape[1])
    total = np.ones_like(going)
    vectors = np.ones_like(going)
    for position in reversed(range(len(loops))):
        extent, kind = view.extents[position], loops[position].kind
        if kind in ("vectorized", "intrinsic"):
            unrolled[position] = going
            if kind == "vectorized":
                vectors = vectors * np.ceil(extent / lanes)
            continue
        total = total * extent
        if kind == "unrolled":
            fits = np.ones_like(going)
        elif kind == "serial":
            fits = ((total <= view.unroll) | (extent == 1)).astype(np.float64)
        else:
            fits = np.zeros_like(going)
        going = going * fits
        unrolled[position] = going
    vectors = vectors / _vectorised_by_compiler(view, lanes)
    bodies, steps, runs = vectors, np.ones_like(going), np.ones_like(going)
    alive = np.ones_like(going)
    for position in reversed(range(len(loops))):
        extent, loop = view.extents[position], loops[position]
        inside = unrolled[position] > 0
        if loop.kind != "vectorized" and loop.kind != "intrinsic":
            bodies = bodies * np.where(inside, extent, 1.0)
        if loop.role == "reduction":
            steps = steps * np.where(inside, extent, 1.0)
            runs = runs * np.where(inside | (alive == 0), 1.0, extent)
        else:
            alive = alive * (inside | (extent == 1))
    return Tile(unrolled, bodies, steps, runs)


def _vectorised_by_compiler(view: StatementView, lanes: float) -> FloatArray:
    """How many bodies of a scalar statement LLVM makes one of: copies along neighbours."""
    statement = view.statement
    many = np.ones(len(view.lanes))
    if statement.is_reduction or statement.intrinsic or view.kinds("vectorized"):
        return many
    undecided = np.ones(len(view.lanes), dtype=bool)
    for position in reversed(range(len(view.extents))):
        extent = view.extents[position]
        near = np.ones(len(view.lanes), dtype=bool)
        for access in view.accesses:
            near &= np.nan_to_num(access.strides[position], nan=_NEAR + 1) <= _NEAR
        here = undecided & (extent > 1)
        many = np.where(here & near, np.clip(np.minimum(extent, lanes) / 2, 1, None), many)
        undecided &= ~here
    return many


def core_time(view: StatementView, machine: CpuMachine, outside: int) -> CoreTime:
    """Cycles of a statement for one iteration of its ``outside`` outermost loops."""
    statement = view.statement
    lanes = machine.lanes(max((a.access.element_bytes for a in view.accesses), default=4))
    tile = tile_of(view, lanes)
    inside = view.extents[outside:]
    instances = inside.prod(axis=0)
    tiles = instances / np.where(tile.unrolled[outside:] > 0, inside, 1.0).prod(axis=0)
    vector = view.lanes > 1
    own = {a.access.buffer for a in view.writes}
    loads = _zeros(view)
    held = _zeros(view)
    for access in view.reads:
        if access.access.buffer in own and statement.is_reduction:
            continue
        cost, registers = _loads(access, view, tile, lanes, machine)
        loads, held = loads + cost, np.maximum(held, registers)
    written = sum((_vectors(a, view, tile, lanes) for a in view.writes), _zeros(view))
    stores = written
    spilled = _zeros(view)
    if statement.is_reduction:
        spilled = np.maximum(written + held + 1 - machine.vector_registers, 0.0)
        kept = written / tile.runs
        loads = loads + kept / machine.loads_per_cycle
        stores = kept
    operations = _operations(view, machine, vector) * tile.bodies
    chain = _zeros(view)
    if statement.is_reduction:
        chain = machine.fma_latency * tile.steps
    uops = operations * machine.fma_ports + loads * machine.loads_per_cycle + stores
    # A body that the front end does not hold decoded enters at half the rate, gradually.
    crowded = 1 + 1 / (1 + (machine.op_cache / np.maximum(uops, 1)) ** 4)
    rolled = _rolled_iterations(view, tile, outside)
    issue = (uops * tiles + machine.loop_ops * rolled) * crowded / machine.issue_width
    return CoreTime(
        operations * tiles,
        loads * tiles,
        stores * tiles / machine.stores_per_cycle,
        chain * tiles,
        issue,
        spilled * tile.steps * tiles * machine.spill_cycles + rolled * machine.loop_cycles,
    )


def _zeros(view: StatementView) -> FloatArray:
    return np.zeros(len(view.lanes))


def _lane_stride(access: AccessView, view: StatementView) -> FloatArray:
    """Elements between the lanes of a vector; 0 where the statement is scalar."""
    found = np.zeros(len(view.lanes))
    for position in view.kinds("vectorized"):
        stride = access.strides[position]
        found = np.where(view.extents[position] > 1, np.nan_to_num(stride, nan=1.0), found)
    return found


def _vectors(access: AccessView, view: StatementView, tile: Tile, lanes: float) -> FloatArray:
    """Registers' worth of what a tile touches of an access."""
    elements = tile.of(access.elements)
    moving = _lane_stride(access, view) != 0
    per_vector = np.where(moving & (view.lanes > 1), np.minimum(view.lanes, lanes), 1.0)
    if view.statement.intrinsic:
        # Whole vectors, or one broadcast of what is less than a vector.
        per_vector = np.minimum(access.elements[-1], 4 * lanes / access.access.element_bytes)
    return np.maximum(elements / per_vector, 1.0)


def _loads(
    access: AccessView, view: StatementView, tile: Tile, lanes: float, machine: CpuMachine
) -> tuple[FloatArray, FloatArray]:
    """Load cycles of a tile, and the registers that hold what was loaded."""
    stride = _lane_stride(access, view)
    vectors = _vectors(access, view, tile, lanes)
    gathered = (stride > 1) & (view.lanes > 1)
    wide = (stride == 1) & (view.lanes > 1)
    if view.statement.intrinsic:
        wide = access.elements[-1] * access.access.element_bytes >= 4 * lanes
    per_load = np.where(wide, 1 / machine.wide_loads_per_cycle, 1 / machine.loads_per_cycle)
    cost = np.where(gathered, vectors * machine.gather_cycles, vectors * per_load)
    held = np.where(wide, vectors / tile.steps, 1.0)
    return cost, held


def _operations(view: StatementView, machine: CpuMachine, vector: FloatArray) -> FloatArray:
    """Cycles of the arithmetic of one body."""
    statement = view.statement
    counts = dict(statement.operations)
    if statement.intrinsic:
        return np.full(len(view.lanes), machine.intrinsic_cycles(statement.intrinsic, counts))
    multiply_adds = max(counts.pop("float.mul", 0), counts.pop("float.add", 0)) / machine.fma_ports
    multiply_adds += (
        max(counts.pop("int.mul", 0), counts.pop("int.add", 0) * 0.0) / machine.fma_ports
    )
    total = np.full(len(view.lanes), multiply_adds)
    for kind, count in counts.items():
        cycles = CYCLES.get(kind, 0.0 if kind.startswith("int.") else 1.0)
        if kind.startswith("call."):
            cycles = np.where(vector, cycles * machine.lanes(4) * 1.2, SCALAR_CALL)
        total = total + count * cycles
    return total


def _rolled_iterations(view: StatementView, tile: Tile, outside: int) -> FloatArray:
    """Iterations of every loop that stays a loop, added up."""
    trips = np.ones(len(view.lanes))
    total = _zeros(view)
    for position in range(outside, len(view.extents)):
        rolled = tile.unrolled[position] == 0
        trips = trips * np.where(rolled, view.extents[position], 1.0)
        total = total + np.where(rolled & (view.extents[position] > 1), trips, 0.0)
    return total
