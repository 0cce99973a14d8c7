"""Thread blocks of a kernel, and the multiprocessors that hold them.

References
----------
Rates of a multiprocessor and what it holds: NVIDIA's tuning guides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mschedx.hardware import Hardware
from mschedx.hardware.device import THREAD_REGISTERS

from .view import AllocationView, FloatArray, StatementView

SHARED_BYTES_PER_CYCLE = 128.0
L2_BYTES_PER_CYCLE = 64.0
"""Of one multiprocessor."""


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


class Device:
    """Rates of a GPU in cycles of its clock.

    Raises
    ------
    ValueError
        When the device's peak or memory rate is not known.
    """

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware
        peak_flops, self.dram = hardware.known_rates()
        # The clock follows from the peak.
        self.fma_per_cycle = float(hardware.fma_per_cycle or 128)
        self.hz = peak_flops / (2 * self.fma_per_cycle * hardware.cores)
        self.tensor_flops = hardware.peak_tensor_flops or peak_flops
        self.l2 = L2_BYTES_PER_CYCLE * hardware.cores * self.hz
        self.shared = SHARED_BYTES_PER_CYCLE * hardware.cores * self.hz
        self.limits = CudaLimits(
            threads=hardware.max_threads_per_sm or 2048,
            blocks=hardware.max_blocks_per_sm or 32,
            registers=hardware.registers_per_block or 65536,
            shared_bytes=hardware.shared_bytes_per_sm or 96 * 1024,
        )


@dataclass(frozen=True)
class Block:
    """A kernel's thread blocks at n configs."""

    grid: FloatArray
    threads: FloatArray
    registers: FloatArray
    shared_bytes: FloatArray
    conflicts: dict[str, FloatArray]

    def room(self, limits: CudaLimits) -> FloatArray:
        """Registers that a thread can have when all threads of a block have as many: [n]."""
        shared = np.floor(limits.registers / np.maximum(self.threads, 1))
        return np.minimum(THREAD_REGISTERS, shared)

    def resident(self, limits: CudaLimits) -> FloatArray:
        """How many a multiprocessor holds at a time: [n]."""
        registers = np.minimum(self.registers, self.room(limits))
        return occupancy(self.threads, registers, self.shared_bytes, limits)


def block_of(
    views: Sequence[StatementView], allocations: Sequence[AllocationView], kernel: int
) -> Block:
    """Sum up the thread blocks of a kernel from its statements and allocations."""
    n = len(views[0].lanes)
    grid = np.max([threads_of(v, "blockIdx") for v in views], axis=0)
    threads = np.max([threads_of(v, "threadIdx") for v in views], axis=0)
    if any(v.statement.by_warp for v in views):
        threads = np.maximum(threads, np.max([warps_of(v) * 32 for v in views], axis=0))
    shared, local = np.zeros(n), np.zeros(n)
    conflicts = {}
    for view in allocations:
        one, size = view.allocation, view.bytes
        if one.kernel != kernel or size is None:
            continue
        if one.scope.startswith("shared"):
            shared = shared + size
            conflicts[one.buffer] = _bank_conflicts(view, size)
        elif one.scope == "local":
            local = local + size
        else:
            # A fragment belongs to a warp, whose 32 threads hold it together.
            local = local + size / 32
    return Block(grid, threads, 32 + local / 4, shared, conflicts)


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


def threads_of(view: StatementView, prefix: str) -> FloatArray:
    """Extents of the loops bound to tags that begin with `prefix`, multiplied: [n]."""
    loops = [i for i, loop in enumerate(view.statement.loops) if loop.thread.startswith(prefix)]
    return view.extents[loops].prod(axis=0) if loops else np.ones(len(view.lanes))


def warps_of(view: StatementView) -> FloatArray:
    """Warps of a block whose statements each take a whole warp: threadIdx.y and z count them."""
    tags = ("threadIdx.y", "threadIdx.z")
    loops = [i for i, loop in enumerate(view.statement.loops) if loop.thread in tags]
    return view.extents[loops].prod(axis=0) if loops else np.ones(len(view.lanes))
