"""Latency of a program on an NVIDIA GPU, from its statements.

A kernel is an outermost loop nest. Its thread blocks occupy the multiprocessors; what a block does
is counted per statement and set against what the device does in that time::

    t = fixed + (t_math^p + t_shared^p + t_L2^p + t_DRAM^p)^(1/p) / hidden + t_waiting

where ``hidden`` in (0, 1] says how much of an instruction's latency other warps fill, and
``t_waiting`` is spent at barriers and for copies that are not asynchronous. Improvements over the
published analyzer (`published`): bytes instead of elements, occupancy from threads, registers and
shared memory, what does not fit into registers, tensor cores by data type, sectors of 32 bytes,
shared-memory traffic, and no jump where a grid passes the number of multiprocessors.

References
----------
The published analyzer: Qiao et al., "Pruner", ASPLOS 2025, section 4. Rates of operations per
multiprocessor: NVIDIA's tuning guides. Held against 320 programs measured on an H200:
``docs/benchmarks/gpus.md``. Constants that name no source are chosen by hand, not by a sweep, and
kept where these programs asked for no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from mschedx.hardware import Hardware

from .costs import Costs, StatementCost
from .cuda_block import Block, Device, balance, block_of
from .view import AccessView, FloatArray, ProgramAt, StatementView

OVERLAP = 3.0
"""p: how far what a block does at a time overlaps. 1: not at all, infinity: wholly. By hand."""

LAUNCH_S = 3e-6
"""What each kernel of a program adds; by hand.

The same for all configs of a kernel: it moves latencies, not their order, but where kernels differ
in number.
"""

SECTOR_BYTES = 32
"""What a cache line is read by."""

SYNCHRONISATION_CYCLES = 40.0
"""Of a barrier, per round of a loop that fills shared memory."""

LATENCY_CYCLES = 300.0
"""Until a value of global memory, mostly in L2, arrives."""

IN_FLIGHT = 4.0
"""Values that a thread asks for before it stores the first of them to shared memory."""

PIPELINED = 0.4
"""What is left of the traffic of a copy that runs beside the arithmetic."""

_TENSOR = {"f16": 1.0, "bf16": 1.0, "tf32": 0.5, "s8": 2.0, "u8": 2.0}
"""Rate of a tensor-core operation over the dense f16 one, by what its name holds."""

_ISSUING_WARPS = 4
"""From which a multiprocessor issues its tensor operations: one for each of its schedulers."""

_HIDING = 4.0
"""Independent instructions that other warps, or a thread's own loops, need to hide half a wait."""

_MOST_INDEPENDENT = 16
"""Instances of one thread that are counted as such."""

_CALL_OPERATIONS = 16.0
"""What a call of a function counts for."""

_MOST_KEPT = 32.0
"""Uses of a value in shared memory that one load into a register serves, at most."""

_SPILLED_BYTES = 8.0
"""Of a register without room, each step: stored and loaded."""

_BEYOND_L2 = 4
"""How fast a buffer that outgrows L2 is found there no more; a power of the ratio, by hand."""

INTEGERS_PER_CYCLE = 64.0
"""Multiply-adds of 32-bit integers that a multiprocessor does: as many on all since sm_70, which
is half the rate of floats where those are 128 (CUDA C++ Programming Guide, "Arithmetic
Instructions")."""

_INTEGER = ("int.add", "int.mul", "int.div", "int.compare")
_FREE = ("call.reinterpret",)
"""Calls that make no instruction: a register is read as another type."""

TERMS = ("arithmetic", "tensor", "shared", "L2", "DRAM", "waiting")


def cuda_costs(program: ProgramAt, hardware: Hardware) -> Costs:
    """Predict what the statements of a program cost at n configs.

    Raises
    ------
    ValueError
        When the device's peak or memory rate is not known.
    """
    views = program.statements
    device = Device(hardware)
    kernels = sorted({v.statement.kernel for v in views if v.statement.kernel is not None})
    costs: list[StatementCost] = []
    for kernel in kernels:
        own = [v for v in views if v.statement.kernel == kernel]
        block = block_of(own, program.allocations, kernel)
        costs += [_cost(view, block, device) for view in own]
    launches = np.full(program.count, LAUNCH_S * max(len(kernels), 1))
    return Costs(tuple(costs), launches)


def _cost(view: StatementView, block: Block, device: Device) -> StatementCost:
    hardware = device.hardware
    resident = block.resident(device.limits)
    warps = np.ceil(block.threads / 32)
    aligned = block.threads / (warps * 32)
    share = balance(block.grid, hardware.cores)
    active = np.minimum(resident, np.ceil(block.grid / hardware.cores)) * warps
    issuing = np.minimum(active / _ISSUING_WARPS, 1.0)
    terms = {name: np.zeros(len(view.lanes)) for name in TERMS}
    by_tensor_cores = _multiply_adds(view) if view.statement.by_warp else 0
    each = by_tensor_cores or _weighted_operations(view)
    if by_tensor_cores:
        speed = next((s for key, s in _TENSOR.items() if key in view.statement.intrinsic), 1.0)
        busy = share * issuing
        terms["tensor"] = view.instances * each / (device.tensor_flops * speed * busy)
    elif each:
        lanes = INTEGERS_PER_CYCLE if _is_integer(view) else device.fma_per_cycle
        rate = 2 * min(lanes, device.fma_per_cycle) * hardware.cores * device.hz
        terms["arithmetic"] = view.instances * each / (rate * share * aligned)
    if each:
        terms["shared"] = _spilled_bytes(view, block, device) / (device.shared * share)
    for access in view.accesses:
        scope = access.access.scope
        if scope == "global":
            moved, unique = _global_bytes(access, view, block)
            terms["L2"] = terms["L2"] + moved / (device.l2 * share)
            fits = 1 / (1 + (unique / hardware.l2_bytes) ** _BEYOND_L2)
            terms["DRAM"] = terms["DRAM"] + (fits * unique + (1 - fits) * moved) / device.dram
        elif scope.startswith("shared"):
            moved = _shared_bytes(access, view)
            if view.statement.by_warp:
                moved = moved * block.conflicts.get(access.access.buffer, 1.0)
            terms["shared"] = terms["shared"] + moved / (device.shared * share)
    waves = np.maximum(block.grid / (hardware.cores * resident), 1.0)
    terms["waiting"] = _waiting_cycles(view) * waves / device.hz
    hidden = 1 / (1 + _HIDING / np.maximum(active * _independent(view), 1.0))
    if _fills(view):
        hidden = np.ones(len(hidden))  # what its threads wait for is counted
    parts = [terms["arithmetic"] + terms["tensor"], terms["shared"], terms["L2"], terms["DRAM"]]
    seconds = _overlapped(parts) / hidden
    seconds = seconds * np.where(view.asynchronous > 0, PIPELINED, 1.0) + terms["waiting"]
    idle = partial(_idle, terms, hidden, share, issuing)
    return StatementCost(view.statement.name, view.statement.kernel, seconds, terms, idle)


def _overlapped(parts: Sequence[FloatArray]) -> FloatArray:
    """Seconds of parts that are done at a time: [n]."""
    return sum((part**OVERLAP for part in parts), np.zeros(len(parts[0]))) ** (1 / OVERLAP)


def _idle(
    terms: dict[str, FloatArray], hidden: FloatArray, share: FloatArray, issuing: FloatArray
) -> FloatArray:
    """Share of the time without waiting that more thread blocks and warps would save: [n].

    Parameters
    ----------
    terms : dict of str to float64 array [n]
    hidden, share, issuing : float64 arrays [n]
        What of instructions' latencies, multiprocessors and their schedulers is filled, in (0, 1].
    """
    rest = [terms["shared"], terms["L2"]]
    now = [terms["arithmetic"] + terms["tensor"], *rest, terms["DRAM"]]
    filled = [terms["arithmetic"] + terms["tensor"] * issuing, *rest]
    least = _overlapped([*(share * part for part in filled), terms["DRAM"]])
    return 1 - least * hidden / np.maximum(_overlapped(now), np.finfo(float).tiny)


def _weighted_operations(view: StatementView) -> float:
    """Operations of one instance, with calls of functions.

    Integers are what a statement computes where it stores them and has no float arithmetic;
    elsewhere they are places and conditions.
    """
    counts = view.statement.operations
    calls = sum(n for kind, n in counts.items() if kind.startswith("call.") and kind not in _FREE)
    own = view.statement.flops
    if _is_integer(view):
        own = sum(counts.get(kind, 0) for kind in _INTEGER)
    return own + _CALL_OPERATIONS * calls


def _is_integer(view: StatementView) -> bool:
    stored = [access.access.dtype for access in view.writes]
    return not view.statement.flops and all(dtype.startswith(("int", "uint")) for dtype in stored)


def _multiply_adds(view: StatementView) -> int:
    """Additions and products of one instance, of floats or integers."""
    operations = view.statement.operations.items()
    return sum(count for kind, count in operations if kind.endswith((".add", ".mul")))


def _global_bytes(
    access: AccessView, view: StatementView, block: Block
) -> tuple[FloatArray, FloatArray]:
    """Bytes between L2 and the multiprocessors in whole sectors, and distinct bytes in memory."""
    inside = _first_inside(view)
    run_bytes = np.maximum(_run(access, view), 1.0) * access.access.element_bytes
    sectors = np.ceil(run_bytes / SECTOR_BYTES) * SECTOR_BYTES / run_bytes
    unique = access.bytes[0]
    return access.bytes[inside] * block.grid * sectors, unique


def _run(access: AccessView, view: StatementView) -> FloatArray:
    """Elements side by side that the threads of a warp ask for with one instruction, at most.

    Threads that copy a tile together go along its rows. Others are as far apart as their loop moves
    the access: of a sector they take one element in so many.
    """
    loops = view.statement.loops
    names = [loop.name for loop in loops]
    if "rounds" in names:
        return access.runs[names.index("rounds")]
    threads = [i for i, loop in enumerate(loops) if loop.thread == "threadIdx.x"]
    if view.kinds("vectorized") or not threads:
        return access.runs[_first_inside(view) if view.kinds("vectorized") else -1]
    apart = access.strides[threads[-1]]
    most = SECTOR_BYTES / access.access.element_bytes
    return np.where(apart >= 1, most / np.clip(apart, 1.0, most), access.runs[-1])


def _first_inside(view: StatementView) -> int:
    """The level within a thread block."""
    bound = [i for i, loop in enumerate(view.statement.loops) if loop.thread.startswith("blockIdx")]
    return bound[-1] + 1 if bound else 0


def _shared_bytes(access: AccessView, view: StatementView) -> FloatArray:
    """Bytes through shared memory: what every instance touches, less what registers keep."""
    moved = view.instances * access.access.element_bytes
    if view.statement.by_warp or view.statement.intrinsic:
        moved = moved * access.elements[-1]
    if view.statement.by_warp:
        return moved
    # Loops that do not move the access leave it in a register.
    kept = np.ones(len(view.lanes))
    for position, loop in enumerate(view.statement.loops):
        if loop.kind in ("serial", "unrolled") and loop.role == "spatial":
            still = access.strides[position] == 0
            kept = kept * np.where(still, view.extents[position], 1.0)
    return moved / np.minimum(kept, _MOST_KEPT)


def _fills(view: StatementView) -> bool:
    """Whether it copies global memory to shared memory."""
    return any(a.access.scope.startswith("shared") for a in view.writes) and any(
        a.access.scope == "global" for a in view.reads
    )


def _waiting_cycles(view: StatementView) -> FloatArray:
    """Cycles that a block waits for a fill of shared memory: at barriers, and for the values.

    Values arrive together as far as a thread asks for them together; those of an asynchronous copy
    arrive while others are used.
    """
    if not any(a.access.scope.startswith("shared") for a in view.writes):
        return np.zeros(len(view.lanes))
    loops = view.statement.loops
    names = [loop.name for loop in loops]
    inside = _first_inside(view)
    stop = names.index("rounds") if "rounds" in names else len(names)
    serial = [
        i
        for i in range(inside, len(loops))
        if not loops[i].thread and i not in view.kinds("vectorized")
    ]
    around = view.trips[[i for i in serial if i < stop]].prod(axis=0)
    each = view.trips[[i for i in serial if i >= stop]].prod(axis=0)
    batches = np.maximum(each / IN_FLIGHT, 1.0) if _fills(view) else 0.0
    awaited = LATENCY_CYCLES * batches * (1 - view.asynchronous)
    return around * (SYNCHRONISATION_CYCLES + awaited)


def _spilled_bytes(view: StatementView, block: Block, device: Device) -> FloatArray:
    """Bytes of registers that every step of a reduction stores and loads, for want of room."""
    over = np.maximum(block.registers - block.room(device.limits), 0.0)
    loops = view.statement.loops
    steps = [i for i, loop in enumerate(loops) if loop.role == "reduction"]
    return _SPILLED_BYTES * over * view.trips[steps].prod(axis=0) * block.threads * block.grid


def _independent(view: StatementView) -> FloatArray:
    """Instances of one thread that do not wait for each other: its spatial serial loops."""
    loops = [
        i
        for i, loop in enumerate(view.statement.loops)
        if loop.role == "spatial" and loop.kind in ("serial", "unrolled") and not loop.thread
    ]
    if not loops:
        return np.ones(len(view.lanes))
    return view.extents[loops].prod(axis=0).clip(max=_MOST_INDEPENDENT)
