"""Cycles that one core of a CPU spends in a statement while its data are in the first cache.

The body of a statement is a *tile*: what its unrolled and vectorised inner loops compute. A tile's
vectors are counted against registers, arithmetic units, load and store ports, the front end, and
the latency of the chain of additions to each accumulator; the slowest of these is its time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cpu_tile import Tile, tile_of
from .gathers import NEAR
from .loop_around import LoopAround
from .machine import CALL_CYCLES, CpuMachine
from .outer_vectors import AVX512_BYTES
from .vector_lengths import full_vectors
from .view import AccessView, FloatArray, StatementView

CYCLES: Mapping[str, float] = {
    "float.div": 8.0,
    "int.div": 4.0,
    "float.compare": 0.5,
    "select": 0.5,
    "cast": 0.5,
    "call.exp": 12.0,
    "call.log": 12.0,
    "call.tanh": 20.0,
    "call.erf": 20.0,
    "call.sigmoid": 16.0,
    "call.sqrt": 10.0,
    "call.rsqrt": 10.0,
}
"""Issue cycles of a vector operation on one unit, where not those of a multiply-add (vendor tables,
rounded); index arithmetic ("int.*") is taken as free beside floating point."""

INSTRUCTIONS = ("call.sqrt", "call.rsqrt")
"""What is one instruction, or two, for all lanes of a vector."""

SCALAR_CALL = 18.0
"""Cycles of a scalar call of the C library's functions; chosen by hand, as is the next."""

_LANE_BY_LANE = 1.2
"""How much longer a vector takes that is taken apart for a call of every lane."""

COMPILER_PEELS = 160.0
"""Bodies up to which LLVM unrolls a whole loop around a tile, as those of a window.

By hand: the window of 28 sums by 3 steps that spills is within (docs/findings.md, "A window of a
convolution"). What this and the next bring together, on 68 tasks, is in docs/benchmarks/psa.md.
"""

_KEPT = 0.5
"""What a value costs that is kept for the next step and has no register, of an accumulator's.

By hand, so that 28 sums with a window inside come out slower than 14, as measured (9.7 and 3.4 ms).
"""


@dataclass(frozen=True)
class CoreTime:
    """Cycles per run of the loops inside a chunk, by cause; float64 arrays [n]."""

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


def core_time(view: StatementView, machine: CpuMachine, outside: int) -> CoreTime:
    """Cycles of a statement for one iteration of its ``outside`` outermost loops."""
    statement = view.statement
    lanes = machine.lanes(max((a.access.element_bytes for a in view.accesses), default=4))
    tile = tile_of(view, lanes)
    inside = view.trips[outside:]
    instances = inside.prod(axis=0)
    # A loop that the compiler vectorises jumps once in a vector.
    counted = np.where(
        tile.unrolled[outside:] > 0,
        inside,
        np.where(
            tile.lane_loops[outside:] > 0, inside / _vectors_along(view, tile, lanes, machine), 1.0
        ),
    )
    whole = counted.prod(axis=0)
    tiles = instances / np.where(whole > 0, whole, 1.0)  # an empty loop has none
    loads, stores, spilled = _moved(view, tile, lanes, machine)
    operations = _operations(view, machine, tile.is_vector) * tile.bodies
    uops = operations * machine.fma_ports + loads * machine.loads_per_cycle + stores
    chain = _zeros(view)
    if statement.is_reduction:
        # Tiles of other accumulators do not wait for each other, as far as the core looks ahead.
        alone = np.minimum(uops / machine.window, 1.0)
        chain = machine.fma_latency * tile.steps * np.where(tile.runs > 1, 1.0, alone)
    # A body that the front end does not hold decoded enters at half the rate, gradually.
    crowded = 1 + 1 / (1 + (machine.op_cache / np.maximum(uops, 1)) ** 4)
    rolled = _rolled_iterations(view, tile, outside, lanes)
    issue = (uops * tiles + machine.loop_ops * rolled) * crowded / machine.issue_width
    odd = _odd_vectors(view, tile, lanes, machine)
    return CoreTime(
        operations * tiles * odd,
        loads * tiles * odd,
        stores * tiles / machine.stores_per_cycle * odd,
        chain * tiles,
        issue * odd,
        spilled * tile.steps * tiles * machine.spill_cycles + rolled * machine.loop_cycles,
    )


def _vectors_along(
    view: StatementView, tile: Tile, lanes: float, machine: CpuMachine
) -> FloatArray:
    """Vectors of a loop that stays one and runs in lanes, in full ones: [n]."""
    extent = np.where(tile.lane_loops > 0, view.extents, 1.0).max(axis=0, initial=1.0)
    whole = np.maximum(np.ceil(extent / lanes), 1.0)
    if machine.vector_bytes < AVX512_BYTES:
        return whole
    apart = np.maximum.reduce([np.abs(tile.stride(access)) for access in view.accesses]) > 1
    return np.where(apart, whole, full_vectors(extent, lanes, machine.narrow_vector))


def _moved(
    view: StatementView, tile: Tile, lanes: float, machine: CpuMachine
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Load cycles and stores of a tile, and the accumulators that find no register."""
    own = {a.access.buffer for a in view.writes}
    written = sum((_vectors(a, view, tile, lanes) for a in view.writes), _zeros(view))
    around = LoopAround.of(view, tile, lanes)
    loads, held, once, kept = (_zeros(view) for _ in range(4))
    for access in view.reads:
        if access.access.buffer in own and view.statement.is_reduction:
            continue  # the accumulator itself
        cost, registers = _loads(access, view, tile, lanes, machine)
        still = around.keeps(access)
        loads, held = (
            loads + np.where(still, 0, cost),
            np.maximum(held, np.where(still, 0, registers)),
        )
        once = once + np.where(still, cost, 0)
        kept = kept + np.where(still, _vectors(access, view, tile, lanes), 0)
    loads = loads + once * around.share(kept, machine.vector_registers - written - held - 1)
    scattered = np.maximum.reduce([tile.stride(a) for a in view.writes]) > 1
    scattered &= tile.is_vector & ((tile.lane_loops * tile.unrolled).sum(axis=0) == 0)
    # Loaded lane by lane, and stored so.
    apart = 2 * machine.gather_cycles * np.where(scattered, np.minimum(tile.lanes, lanes), 0.0)
    loads = loads + written / tile.runs * apart
    if not view.statement.is_reduction:
        return loads, written, _zeros(view)
    kept = written / tile.runs
    wanted = written + held + 1
    spilled = np.maximum(wanted - machine.vector_registers, 0.0)
    carried = np.maximum(wanted + _carried(view, tile, own) - machine.vector_registers, 0.0)
    spilled = spilled + _KEPT * (carried - spilled)
    return loads + kept / machine.loads_per_cycle, kept, spilled


def _carried(view: StatementView, tile: Tile, own: set[str]) -> FloatArray:
    """Values of a tile that the next step reads again, and for which LLVM takes registers.

    So it is in a window: of x[j + r], unrolled over r, all but one are x[(j - 1) + (r + 1)].
    """
    carried, searching = _zeros(view), np.ones(len(view.lanes), dtype=np.bool_)
    if view.statement.intrinsic:
        return carried
    reads = [access for access in view.reads if access.access.buffer not in own]
    for position in reversed(range(len(view.extents))):
        extent, loop = view.extents[position], view.statement.loops[position]
        rolled = (tile.unrolled[position] == 0) & (extent > 1)
        if loop.role == "reduction" and loop.kind == "serial":
            here = searching & rolled & (tile.bodies * extent <= COMPILER_PEELS)
            for access in reads:
                again = np.where(
                    _slides(access, view, tile, position),
                    _shared(access, extent, tile, position),
                    0.0,
                )
                carried = carried + np.where(here, again, 0.0)
        searching &= ~rolled
    return carried


def _slides(
    access: AccessView, view: StatementView, tile: Tile, position: int
) -> NDArray[np.bool_]:
    """Whether a loop around a tile moves an access as one of the tile's loops does."""
    along = (tile.unrolled > 0) & (view.extents > 1) & (access.strides == access.strides[position])
    return along.any(axis=0) & (access.strides[position] != 0)


def _shared(access: AccessView, extent: FloatArray, tile: Tile, position: int) -> FloatArray:
    """Registers of what neighbouring steps of a loop both read."""
    again = extent * tile.of(access.elements) - access.elements[position]
    wide = tile.is_vector & (tile.stride(access) == 1)
    return np.maximum(again, 0.0) / np.maximum(extent - 1, 1.0) / np.where(wide, tile.lanes, 1.0)


def _odd_vectors(view: StatementView, tile: Tile, lanes: float, machine: CpuMachine) -> FloatArray:
    """How much longer vectors take that are no power of two: the compiler takes them apart.

    Where they are accumulated in memory each is put together again at every step.
    """
    if not view.kinds("vectorized"):
        return np.ones(len(view.lanes))
    exponent = np.log2(np.maximum(view.lanes, 1))
    odd = (np.abs(exponent - np.rint(exponent)) > 1e-6) & (view.lanes > 1)
    worst = np.where(view.lanes > lanes, machine.odd_vector, machine.odd_vector / 2)
    in_memory = view.statement.is_reduction & (tile.steps * tile.runs > 1) & (tile.bodies < 4)
    return np.where(odd, np.where(in_memory, worst, 1 + worst / 4), 1.0)


def _zeros(view: StatementView) -> FloatArray:
    return np.zeros(len(view.lanes))


def _vectors(access: AccessView, view: StatementView, tile: Tile, lanes: float) -> FloatArray:
    """Registers' worth of what a tile touches of an access."""
    elements = tile.of(access.elements)
    if view.statement.intrinsic and not view.is_inlined:
        # Whole vectors, or one broadcast of what is less than a vector.
        per_vector = np.minimum(access.elements[-1], 4 * lanes / access.access.element_bytes)
        return np.maximum(elements / per_vector, 1.0)
    moving = tile.is_vector & (tile.stride(access) != 0)
    by_compiler = tile.is_vector & ((tile.lane_loops * tile.unrolled).sum(axis=0) == 0)
    width = np.minimum(tile.lanes, lanes)
    # Of a loop that goes on over vectors, the tile's elements are those of one lane.
    return np.maximum(np.where(moving & ~by_compiler, elements / width, elements), 1.0)


def _loads(
    access: AccessView, view: StatementView, tile: Tile, lanes: float, machine: CpuMachine
) -> tuple[FloatArray, FloatArray]:
    """Load cycles of a tile, and the registers that hold what was loaded."""
    vectors = _vectors(access, view, tile, lanes)
    stride = tile.stride(access)
    wide = tile.is_vector & (stride == 1)
    if view.statement.intrinsic and not view.is_inlined:
        wide = access.elements[-1] * access.access.element_bytes >= 4 * lanes
    gathered = tile.is_vector & (stride > 1)
    per_load = np.where(wide, 1 / machine.wide_loads_per_cycle, 1 / machine.loads_per_cycle)
    each = np.where(gathered, np.minimum(tile.lanes, lanes) * machine.gather_cycles, per_load)
    # Near neighbours are whole vectors, shuffled.
    shuffled = stride * (1 / machine.wide_loads_per_cycle + 1 / machine.shuffles_per_cycle)
    each = np.where(gathered & (stride <= NEAR), np.minimum(each, shuffled), each)
    held = np.where(wide, vectors / tile.steps, 1.0)
    return vectors * each, held


def _operations(view: StatementView, machine: CpuMachine, vector: NDArray[np.bool_]) -> FloatArray:
    """Cycles of the arithmetic of one body."""
    counts = dict(view.statement.operations)
    if view.statement.intrinsic and not view.is_inlined:
        cycles = machine.intrinsic_cycles(view.statement.intrinsic, counts)
        return np.full(len(view.lanes), cycles)
    # A product and a sum are one instruction.
    fused = max(counts.pop("float.mul", 0), counts.pop("float.add", 0)) + counts.pop("int.mul", 0)
    total = np.full(len(view.lanes), fused / machine.fma_ports)
    for kind, count in counts.items():
        cycles = CYCLES.get(kind, 0.0 if kind.startswith("int.") else 1.0)
        if kind in INSTRUCTIONS:
            cycles = np.full(len(vector), cycles)
        elif kind.startswith("call.") and view.is_inlined:
            cycles = np.full(len(vector), CALL_CYCLES)
        elif kind.startswith("call."):
            cycles = np.where(vector, cycles * machine.lanes(4) * _LANE_BY_LANE, SCALAR_CALL)
        total = total + count * cycles
    return total


def _rolled_iterations(view: StatementView, tile: Tile, outside: int, lanes: float) -> FloatArray:
    """Iterations of every loop that stays a loop, added up."""
    trips = np.ones(len(view.lanes))
    total = _zeros(view)
    for position in range(outside, len(view.extents)):
        rolled = tile.unrolled[position] == 0
        extent = view.extents[position]
        count = np.where(tile.lane_loops[position] > 0, np.ceil(extent / lanes), extent)
        trips = trips * np.where(rolled, count, 1.0)
        total = total + np.where(rolled & (count > 1), trips, 0.0)
    return total
