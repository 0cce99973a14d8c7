"""Pruner's analyzer as published: symbols per stored buffer, and the score computed from them.

Kept so that its numbers can be checked; `cuda` is the analyzer to rank with. The published form
counts elements where bytes are meant, so that fp32 transfers come out four times too short, sees no
occupancy, jumps where a grid passes the number of multiprocessors, and takes a K80's two dies for
one device.

Notation (symbol : meaning)
---------------------------
f0 : operations of one thread, vthreads counted as a loop; f1 : of the whole grid.
f2 : registers a thread needs; f3 : elements it reads and writes, repetitions included.
f5 : elements moved between global memory and the chip by a statement that only copies.
f6 : 1 + f0 / f3, the reuse of an element; f8 : thread blocks; f9 : threads of a block.

References
----------
Qiao et al., "Pruner: A Draft-then-Verify Exploration Mechanism to Accelerate Tensor Program
Tuning", ASPLOS 2025, section 4; github qiaolian9/Pruner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mschedx.hardware import Hardware

from .view import AccessView, FloatArray, StatementView

BoolArray = NDArray[np.bool_]

WARP = 32
PARTITIONS = 4
"""Sub-partitions of a multiprocessor, each with a warp scheduler."""

REGISTERS = 128.0
"""Elements a thread may keep before the published form counts them against it."""


@dataclass(frozen=True)
class Symbols:
    """What the published score reads of one statement; float64 arrays [n]."""

    f0: FloatArray
    f1: FloatArray
    f2: FloatArray
    f3: FloatArray
    f5: FloatArray
    f6: FloatArray
    f8: FloatArray
    f9: FloatArray


def symbols(view: StatementView) -> Symbols:
    """Read the symbols off a statement at n configs."""
    n = len(view.lanes)
    grid = _threads(view, "blockIdx")
    block = _threads(view, "threadIdx")
    free = [
        i
        for i, loop in enumerate(view.statement.loops)
        if not loop.thread.startswith(("blockIdx", "threadIdx"))
    ]
    each = float(sum(count for kind, count in view.statement.operations.items() if _counts(kind)))
    f0 = each * view.trips[free].prod(axis=0)
    inside = view.extents[free]
    written = np.zeros(inside.shape, dtype=bool)
    for access in view.writes:
        written |= _moves(access, free)
    f2, f3 = np.zeros(n), np.zeros(n)
    for access in _distinct(view):
        own = _moves(access, free)
        f3 = f3 + np.where(own, inside, 1.0).prod(axis=0)
        f2 = f2 + np.where(own & written, inside, 1.0).prod(axis=0)
    f5 = np.zeros(n) if each else view.extents.prod(axis=0)
    f6 = np.where(f0 > 0, 1 + f0 / np.maximum(f3, 1), 1.0)
    return Symbols(f0, f0 * grid * block, f2, f3, f5, f6, grid, block)


def alignment_of_warps(block: FloatArray) -> FloatArray:
    """``p_warp``: threads of a block over those of whole warps."""
    warps = block / WARP
    return warps / np.ceil(warps)


def alignment_of_grid(grid: FloatArray, warps: FloatArray, multiprocessors: int) -> FloatArray:
    """``p_sm``: how evenly thread blocks, or the warps of few of them, fill the multiprocessors."""
    grid, warps = np.asarray(grid, dtype=np.float64), np.asarray(warps, dtype=np.float64)
    full = grid / (np.ceil(grid / multiprocessors) * multiprocessors)
    units = grid * np.minimum(warps, PARTITIONS)
    slots = PARTITIONS * multiprocessors
    few = units / (np.ceil(units / slots) * slots)
    return np.where(grid >= multiprocessors, full, few)


def statement_ms(found: Symbols, hardware: Hardware) -> FloatArray:
    """Milliseconds of one statement, the larger of computing and copying: [n].

    Raises
    ------
    ValueError
        When the device's peak or memory rate is not known.
    """
    peak_flops, dram_bytes_per_s = hardware.known_rates()
    dies = _dies(hardware)
    warps = np.ceil(found.f9 / WARP)
    busy = alignment_of_grid(found.f8, warps, dies * hardware.cores) * alignment_of_warps(found.f9)
    registers = np.maximum(1.0, found.f2 / REGISTERS)
    reuse = 1 + 1 / found.f6
    gflops = dies * peak_flops / 1e9
    gbytes = dies * dram_bytes_per_s / 1e9
    compute = found.f1 * reuse / (gflops * busy / registers) / 1e6
    memory = found.f5 * 1000 / (gbytes * 2.0**30)
    return np.maximum(compute, memory)


def _dies(hardware: Hardware) -> int:
    """How many devices the published table has as one: two dies of a K80."""
    return 2 if hardware.name == "k80" else 1


def _counts(kind: str) -> bool:
    return kind in ("float.add", "float.mul", "float.div")


def _threads(view: StatementView, prefix: str) -> FloatArray:
    loops = [i for i, loop in enumerate(view.statement.loops) if loop.thread.startswith(prefix)]
    return view.extents[loops].prod(axis=0)


def _moves(access: AccessView, loops: list[int]) -> BoolArray:
    """Which of the loops occur in an access's indices, at each config: bool [len(loops), n]."""
    return np.nan_to_num(access.strides[loops], nan=1.0) != 0


def _distinct(view: StatementView) -> list[AccessView]:
    """One access a buffer: what is read and written counts once."""
    found: dict[str, AccessView] = {}
    for access in view.accesses:
        found.setdefault(access.access.buffer, access)
    return list(found.values())
