"""Latency of a program on a CPU, from its statements: who waits for what, and for how long.

A loop nest whose outermost loop is parallel is one region: its iterations are dealt to the cores,
the fullest core decides. Within a chunk, a statement takes the cycles of its core time or of moving
its data from each cache, whichever is longer, smoothly::

    t = (t_core^p + t_L2^p + t_L3^p + t_DRAM^p)^(1/p)

What has left the caches since the last call, as the weights of a network do, comes from memory
first: a core computes with a panel of them when it has it, so that this time is added. What the
operator before wrote, and what the program writes and reads itself, has not left them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .caches import compacted_strides, crowding, held, lines, traffic
from .costs import Costs, StatementCost
from .cpu_core import core_time
from .cpu_tile import tile_of
from .machine import CpuMachine
from .view import FloatArray, ProgramAt, StatementView

PAGE_BYTES = 4096

_COMPACT = 1.25
"""A buffer no larger than this, of what a chunk touches of it, holds nothing else."""

OVERLAP = 5.0
"""p above: how well computing and the transfers from each cache overlap; ``inf`` is perfectly.

Fitted with the constants of `machine`, on 22 tasks measured on a Zen 4.
"""

TERMS = ("arithmetic", "loads", "stores", "chain", "issue", "serial", "L2", "L3", "DRAM", "TLB")
"""What a statement may wait for."""


def cpu_costs(
    program: ProgramAt, machine: CpuMachine, *, cold: frozenset[str] = frozenset()
) -> Costs:
    """Predict what the statements of a program cost at n configs.

    Parameters
    ----------
    program : ProgramAt
    machine : CpuMachine
    cold : frozenset of str
        Parameters that no cache holds when the program is called; what else it touches is in the
        smallest that holds it all.
    """
    statements = tuple(
        _cost(view, machine, own) for view, own in _first_reads(program.statements, cold)
    )
    return Costs(statements, _forks(program.statements, machine, program.count))


def _first_reads(
    views: Sequence[StatementView], cold: frozenset[str]
) -> Iterator[tuple[StatementView, frozenset[str]]]:
    """Each statement, and which buffers it is the first to fetch."""
    for view in views:
        own = cold & {one.access.buffer for one in view.reads}
        cold -= own
        yield view, own


def _forks(views: Sequence[StatementView], machine: CpuMachine, n: int) -> FloatArray:
    regions: dict[int | None, FloatArray] = {}
    for view in views:
        parallel = view.kinds("parallel")
        if parallel:
            many = view.extents[parallel].prod(axis=0) > 1
            kernel = view.statement.kernel
            regions[kernel] = np.maximum(regions.get(kernel, np.zeros(n)), many)
    return sum(regions.values(), np.zeros(n)) * machine.fork_s


def _cost(view: StatementView, machine: CpuMachine, cold: frozenset[str]) -> StatementCost:
    parallel = view.kinds("parallel")
    outside = parallel[-1] + 1 if parallel else 0
    chunks = view.extents[parallel].prod(axis=0) if parallel else np.ones(len(view.lanes))
    # Loops between parallel ones, if any, run in every chunk.
    serial = view.extents[:outside].prod(axis=0) / chunks
    rounds = np.ceil(chunks / machine.cores) * serial
    core = core_time(view, machine, outside)
    per_round = {
        "arithmetic": core.arithmetic,
        "loads": core.loads,
        "stores": core.stores,
        "chain": core.chain,
        "issue": core.issue,
        "serial": core.serial,
    }
    terms = {name: rounds * cycles / machine.hz for name, cycles in per_round.items()}
    transfers, fetched = _transfers(view, machine, outside, rounds, cold)
    evicted = rounds * _evicted(view, machine, outside) / machine.hz
    parts = [rounds * core.cycles / machine.hz, *transfers.values()]
    # A tile waits for lines that it has just lost, whatever else it does.
    seconds = sum(part**OVERLAP for part in parts) ** (1 / OVERLAP) + evicted + fetched
    terms |= {**transfers, "L2": transfers["L2"] + evicted, "DRAM": transfers["DRAM"] + fetched}
    return StatementCost(view.statement.name, view.statement.kernel, seconds, terms)


def _transfers(
    view: StatementView,
    machine: CpuMachine,
    outside: int,
    rounds: FloatArray,
    cold: frozenset[str],
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Seconds of moving data into each cache of the fullest core.

    And those of fetching from memory what a warm call finds in the last cache, of buffers that are
    ``cold``.
    """
    footprints, starts, pages = [], [], []
    for access in view.accesses:
        own = lines(access, view.extents, machine.line_bytes)[outside:]
        # Over all its chunks a core touches no more than there is.
        everything = np.minimum(access.bytes[0], own[0] * rounds)
        both = np.concatenate([everything[None], own])
        footprints.append(both * (2.0 if access.access.is_write else 1.0))
        run = np.maximum(access.runs[outside:] * access.access.element_bytes, machine.line_bytes)
        starts.append(1 / np.concatenate([run[:1], run]))
        touched = lines(access, view.extents, PAGE_BYTES)[outside:]
        everything = np.minimum(np.maximum(access.bytes[0], PAGE_BYTES), touched[0] * rounds)
        pages.append(np.concatenate([everything[None], touched]))
    trips = np.concatenate([rounds[None], view.trips[outside:]])
    in_all = sum((f[0] for f in footprints), np.zeros(len(rounds)))
    found = {}
    for name, size, rate, wait in (
        ("L2", machine.l1_bytes, machine.l2_bytes_per_cycle, machine.run_cycles[0]),
        ("L3", machine.l2_bytes, machine.l3_bytes_per_cycle, machine.run_cycles[1]),
        ("DRAM", machine.l3_bytes, machine.dram_bytes_per_cycle, machine.run_cycles[2]),
    ):
        costs = [f * (1 / rate + s * wait) for f, s in zip(footprints, starts)]
        first = sum((c[0] for c in costs), np.zeros(len(rounds)))
        # A kernel that is called again finds in a cache what fits there.
        fitting = 1 / (1 + (in_all / size) ** 4)
        moved = traffic(footprints, costs, trips, size)
        found[name] = np.maximum(moved - first * fitting, 0.0) / machine.hz
    # Of the last of these, which is memory.
    weights = [c[0] for c, a in zip(costs, view.accesses) if a.access.buffer in cold]
    fetched = fitting * sum(weights, np.zeros(len(rounds))) / machine.hz
    translated = [p / PAGE_BYTES for p in pages]
    misses = traffic(pages, translated, trips, machine.tlb_pages * PAGE_BYTES)
    found["TLB"] = misses * machine.tlb_cycles / machine.hz
    return found, fetched


def _evicted(view: StatementView, machine: CpuMachine, outside: int) -> FloatArray:
    """Cycles of a chunk in which tiles wait for lines that others of their set have driven out.

    Of the lines that a tile reads and the next one reads again, such as rows of an operand of which
    a tile takes an element each. A way of the first cache is a page, as where a line is looked up
    while its address is still translated.
    """
    ways = machine.l1_bytes / PAGE_BYTES
    tile = tile_of(
        view, machine.lanes(max((a.access.element_bytes for a in view.accesses), default=4))
    )
    inside = np.where(np.arange(len(view.extents))[:, None] < outside, 1.0, view.extents)
    sums = {a.access.buffer for a in view.writes} if view.statement.is_reduction else set()
    tiles = np.where(tile.unrolled[outside:] > 0, 1.0, view.trips[outside:]).prod(axis=0)
    # Of the loop that steps from tile to tile; a tile in no loop has no next one.
    stepping = (tile.unrolled == 0) & (view.extents > 1)
    last = len(stepping) - 1 - np.argmax(stepping[::-1], axis=0)
    follows = stepping.any(axis=0)
    cycles = np.zeros(view.extents.shape[1])
    for access in view.reads:
        if access.access.buffer in sums:
            continue
        strides = access.strides
        # A buffer of the chunk's own is compacted to what is used of it.
        own = access.allocated_bytes <= _COMPACT * access.bytes[outside]
        if own.any():
            strides = np.where(own, compacted_strides(access, inside), strides)
        as_laid_out = replace(access, strides=strides)
        crowded = crowding(as_laid_out, view.extents, machine.line_bytes, PAGE_BYTES)
        lost = 1 - held(tile.of(crowded), ways)
        if not lost.any():
            continue
        touched = lines(access, view.extents, machine.line_bytes) / machine.line_bytes
        here = tile.of(touched)
        along = np.take_along_axis(touched, last[None], axis=0)[0]
        steps = np.take_along_axis(view.extents, last[None], axis=0)[0]
        again = np.clip(1 - along / np.maximum(steps * here, 1.0), 0.0, 1.0) * follows
        # Every step of a tile reads its lines, too.
        reads = here * (tile.steps - 1 + again)
        cycles = cycles + lost * reads * machine.evicted_cycles * tiles
    return cycles
