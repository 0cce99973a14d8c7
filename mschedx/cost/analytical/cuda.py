"""Latency of a program on an NVIDIA GPU, from its statements.

A kernel is an outermost loop nest. Its thread blocks occupy the multiprocessors; what a block does
is counted per statement and set against what the device does in that time::

    t = fixed + (t_math^p + t_shared^p + t_L2^p + t_DRAM^p)^(1/p) / hidden

where ``hidden`` in (0, 1] says how much of the waiting other warps fill. Improvements over the
published analyzer (`published`): bytes instead of elements, occupancy from threads, registers and
shared memory, tensor cores by data type, sectors of 32 bytes, shared-memory traffic, and no jump
where a grid passes the number of multiprocessors.

References
----------
The published analyzer: Qiao et al., "Pruner", ASPLOS 2025, section 4. Rates of operations per
multiprocessor: NVIDIA's tuning guides. Not yet held against measurements on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mschedx.hardware import Hardware

from .costs import Costs, StatementCost
from .view import AccessView, AllocationView, FloatArray, ProgramAt, StatementView

OVERLAP = 3.0
LAUNCH_S = 3e-6
SECTOR_BYTES = 32
SHARED_BYTES_PER_CYCLE = 128.0
L2_BYTES_PER_CYCLE = 64.0
"""Of one multiprocessor."""

SYNCHRONISATION_CYCLES = 40.0
"""Of a barrier, per round of a loop that fills shared memory."""

PIPELINED = 0.4
"""What is left to wait for of a copy that a software pipeline starts early."""

_TENSOR = {"f16": 1.0, "bf16": 1.0, "tf32": 0.5, "s8": 2.0, "u8": 2.0}
"""Rate of a tensor-core operation over the dense f16 one, by what its name holds."""

TERMS = ("arithmetic", "tensor", "shared", "L2", "DRAM", "waiting")


@dataclass(frozen=True)
class CudaLimits:
    """What a multiprocessor holds."""

    threads: int = 2048
    blocks: int = 32
    registers: int = 65536
    shared_bytes: int = 164 * 1024


def occupancy(
    threads: FloatArray, registers: FloatArray, shared_bytes: FloatArray, limits: CudaLimits
) -> FloatArray:
    """Thread blocks that a multiprocessor holds at a time, at least one; [n].

    Parameters
    ----------
    threads, registers : float64 arrays [n]
        Of a block; of a thread.
    shared_bytes : float64 array [n]
        Of a block.
    limits : CudaLimits
    """
    by_threads = np.floor(limits.threads / np.maximum(threads, 1))
    per_block = np.maximum(np.ceil(registers / 8) * 8, 24) * np.ceil(threads / 32) * 32
    by_registers = np.floor(limits.registers / np.maximum(per_block, 1))
    by_shared = np.floor(limits.shared_bytes / np.maximum(shared_bytes + 1024, 1))
    least = np.minimum(np.minimum(by_threads, by_registers), by_shared)
    return np.clip(least, 1, limits.blocks)


def balance(grid: FloatArray, multiprocessors: int) -> FloatArray:
    """Share of the multiprocessors' time that thread blocks fill, in (0, 1]: [n].

    Fewer blocks than multiprocessors fill as many as there are. Beyond, the last wave is half as
    bad as if all waves ended together, for blocks do not start in step.
    """
    load = grid / multiprocessors
    uneven = load / np.ceil(load)
    return np.where(load < 1, load, (1 + uneven) / 2 * np.where(load < 1, load, 1))


def cuda_costs(program: ProgramAt, hardware: Hardware) -> Costs:
    """Predict what the statements of a program cost at n configs.

    Raises
    ------
    ValueError
        When the device's peak or memory rate is not known.
    """
    if hardware.peak_flops is None or hardware.dram_bytes_per_s is None:
        raise ValueError(
            f"expected hardware with peak_flops and dram_bytes_per_s, got {hardware.name} without: "
            "take a device of the table (Hardware.from_device) or set them with with_rates"
        )
    views = program.statements
    device = _Device(hardware)
    kernels = sorted({v.statement.kernel for v in views if v.statement.kernel is not None})
    costs: list[StatementCost] = []
    for kernel in kernels:
        own = [v for v in views if v.statement.kernel == kernel]
        block = _block(own, program.allocations, kernel)
        costs += [_cost(view, block, device) for view in own]
    launches = np.full(program.count, LAUNCH_S * max(len(kernels), 1))
    return Costs(tuple(costs), launches)


class _Device:
    """Rates of a GPU in cycles of its clock."""

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        assert hardware.peak_flops is not None
        assert hardware.dram_bytes_per_s is not None
        # 128 or 64 multiply-adds a cycle and multiprocessor; the clock follows from the peak.
        self.fma_per_cycle = 64.0 if hardware.arch in ("sm_70", "sm_75", "sm_80") else 128.0
        self.hz = hardware.peak_flops / (2 * self.fma_per_cycle * hardware.cores)
        self.tensor_flops = hardware.peak_tensor_flops or hardware.peak_flops
        self.dram = hardware.dram_bytes_per_s
        self.l2 = L2_BYTES_PER_CYCLE * hardware.cores * self.hz
        self.shared = SHARED_BYTES_PER_CYCLE * hardware.cores * self.hz
        self.limits = CudaLimits(
            threads=hardware.max_threads_per_sm or 2048,
            registers=hardware.registers_per_block or 65536,
            shared_bytes=hardware.shared_bytes_per_sm or 96 * 1024,
        )


@dataclass(frozen=True)
class _Block:
    """A kernel's thread blocks at n configs."""

    grid: FloatArray
    threads: FloatArray
    registers: FloatArray
    shared_bytes: FloatArray
    conflicts: dict[str, FloatArray]
    overlapped: dict[str, FloatArray]


def _block(
    views: Sequence[StatementView], allocations: Sequence[AllocationView], kernel: int
) -> _Block:
    n = len(views[0].lanes)
    grid = np.max([_threads(v, "blockIdx") for v in views], axis=0)
    threads = np.max([_threads(v, "threadIdx") for v in views], axis=0)
    if any(v.statement.by_warp for v in views):
        threads = np.maximum(threads, np.max([_warps(v) * 32 for v in views], axis=0))
    shared, local = np.zeros(n), np.zeros(n)
    conflicts, overlapped = {}, {}
    for view in allocations:
        one, size = view.allocation, view.bytes
        if one.kernel != kernel or size is None:
            continue
        if one.scope.startswith("shared"):
            shared = shared + size
            conflicts[one.buffer] = _bank_conflicts(view, size)
            overlapped[one.buffer] = view.copies
        elif one.scope == "local":
            local = local + size
        else:
            # A fragment belongs to a warp, whose 32 threads hold it together.
            local = local + size / 32
    return _Block(grid, threads, 32 + local / 4, shared, conflicts, overlapped)


def _cost(view: StatementView, block: _Block, device: _Device) -> StatementCost:
    hardware = device.hardware
    resident = occupancy(block.threads, block.registers, block.shared_bytes, device.limits)
    warps = np.ceil(block.threads / 32)
    aligned = block.threads / (warps * 32)
    share = balance(block.grid, hardware.cores)
    active = np.minimum(resident, np.ceil(block.grid / hardware.cores)) * warps
    spilled = np.maximum(block.registers / 255 - 1, 0.0)
    instances = view.extents.prod(axis=0) if len(view.extents) else np.ones(len(view.lanes))
    terms = {name: np.zeros(len(view.lanes)) for name in TERMS}
    rate = 2 * device.fma_per_cycle * hardware.cores * device.hz
    each = view.statement.flops + sum(
        16.0 * count for kind, count in view.statement.operations.items() if "call" in kind
    )
    by_tensor_cores = _multiply_adds(view) if view.statement.by_warp else 0
    if by_tensor_cores:
        speed = next((s for key, s in _TENSOR.items() if key in view.statement.intrinsic), 1.0)
        terms["tensor"] = instances * by_tensor_cores / (device.tensor_flops * speed * share)
        # A multiprocessor issues its tensor operations from four warps at least.
        terms["tensor"] = terms["tensor"] / np.minimum(active / 4, 1.0)
    elif each:
        terms["arithmetic"] = instances * each / (rate * share * aligned) * (1 + spilled)
    for access in view.accesses:
        scope = access.access.scope
        if scope == "global":
            moved, unique = _global_bytes(access, view, block)
            terms["L2"] = terms["L2"] + moved / (device.l2 * share)
            fits = 1 / (1 + (unique / hardware.l2_bytes) ** 4)
            terms["DRAM"] = terms["DRAM"] + (fits * unique + (1 - fits) * moved) / device.dram
        elif scope.startswith("shared"):
            moved = _shared_bytes(access, view, instances)
            if view.statement.by_warp:
                moved = moved * block.conflicts.get(access.access.buffer, 1.0)
            terms["shared"] = terms["shared"] + moved / (device.shared * share)
    rounds = _rounds(view)
    terms["waiting"] = (
        rounds
        * SYNCHRONISATION_CYCLES
        / device.hz
        * np.maximum(block.grid / (hardware.cores * resident), 1.0)
    )
    hidden = 1 / (1 + 4.0 / np.maximum(active * _independent(view), 1.0))
    parts = [terms["arithmetic"] + terms["tensor"], terms["shared"], terms["L2"], terms["DRAM"]]
    seconds = sum(part**OVERLAP for part in parts) ** (1 / OVERLAP) / hidden + terms["waiting"]
    for access in view.writes:
        # A pipeline fills the next version of a buffer while this one is read.
        versions = block.overlapped.get(access.access.buffer, np.ones(len(seconds)))
        seconds = np.where(versions > 1, seconds * PIPELINED, seconds)
    return StatementCost(view.statement.name, view.statement.kernel, seconds, terms)


def _bank_conflicts(one: AllocationView, size: FloatArray) -> FloatArray:
    """How many of eight neighbouring rows of a tile lie in one bank: 1 to 8."""
    shape = one.allocation.shape
    if len(shape) < 2 or None in shape[:-1]:
        return np.full(len(size), 2.0)
    rows = one.shape[: len(shape) - 1]
    pitch = size / np.maximum(np.prod(np.stack(rows), axis=0) * one.copies, 1)
    found = np.ones(len(size))
    for bytes_apart, ways in ((32, 2.0), (64, 4.0), (128, 8.0)):
        found = np.where(np.rint(pitch) % bytes_apart == 0, ways, found)
    return found


def _multiply_adds(view: StatementView) -> int:
    """Additions and products of one instance, of floats or integers."""
    operations = view.statement.operations.items()
    return sum(count for kind, count in operations if kind.endswith((".add", ".mul")))


def _threads(view: StatementView, prefix: str) -> FloatArray:
    loops = [i for i, loop in enumerate(view.statement.loops) if loop.thread.startswith(prefix)]
    return view.extents[loops].prod(axis=0) if loops else np.ones(len(view.lanes))


def _warps(view: StatementView) -> FloatArray:
    """Warps of a block whose statements each take a whole warp: threadIdx.y and z count them."""
    tags = ("threadIdx.y", "threadIdx.z")
    loops = [i for i, loop in enumerate(view.statement.loops) if loop.thread in tags]
    return view.extents[loops].prod(axis=0) if loops else np.ones(len(view.lanes))


def _global_bytes(
    access: AccessView, view: StatementView, block: _Block
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


def _shared_bytes(access: AccessView, view: StatementView, instances: FloatArray) -> FloatArray:
    """Bytes through shared memory: what every instance touches, less what registers keep."""
    elements = np.full(len(instances), 1.0)
    if view.statement.by_warp:
        elements = access.elements[-1]
        return instances * elements * access.access.element_bytes
    # Loops that do not move the access leave it in a register.
    still = [
        i
        for i, loop in enumerate(view.statement.loops)
        if loop.kind in ("serial", "unrolled")
        and (access.strides[i] == 0).all()
        and loop.role == "spatial"
    ]
    kept = view.extents[still].prod(axis=0) if still else np.ones(len(instances))
    return instances * elements * access.access.element_bytes / np.minimum(kept, 32.0)


def _rounds(view: StatementView) -> FloatArray:
    """Barriers a block passes: iterations of the loops around a fill of shared memory."""
    writes_shared = any(a.access.scope.startswith("shared") for a in view.writes)
    if not writes_shared:
        return np.zeros(len(view.lanes))
    names = [loop.name for loop in view.statement.loops]
    inside = _first_inside(view)
    stop = names.index("rounds") if "rounds" in names else len(names)
    loops = [i for i in range(inside, stop) if not view.statement.loops[i].thread]
    return view.extents[loops].prod(axis=0) if loops else np.ones(len(view.lanes))


def _independent(view: StatementView) -> FloatArray:
    """Instances of one thread that do not wait for each other: its spatial serial loops."""
    loops = [
        i
        for i, loop in enumerate(view.statement.loops)
        if loop.role == "spatial" and loop.kind in ("serial", "unrolled") and not loop.thread
    ]
    return view.extents[loops].prod(axis=0).clip(max=16) if loops else np.ones(len(view.lanes))
