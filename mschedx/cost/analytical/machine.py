"""What a core of a CPU does per cycle: the constants that the analyzer reasons with.

Sizes and widths come from `Hardware`. The others are typical of cores since 2020; those that no
vendor states (what a spill, a jump, an odd vector costs) were fitted, one at a time, on 22 tasks of
shapes that no benchmark of ours uses, measured on a Zen 4, that of odd vectors on 63 in TVM's own
space. Cores with two units of full width are a Zen 5's (docs/benchmarks/psa.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mschedx.hardware import Hardware

CALL_CYCLES = 20.0
"""Of a function of ours for a vector; for one element, as many. By hand, not by a sweep."""

_DEFAULT_HZ = 3.0e9

_DRAM_BYTES_PER_S_OF_A_CORE = 6e9
_DRAM_BYTES_PER_S = (12e9, 300e9)
"""What memory gives where nothing was measured: so much a core, and no less and no more than this.

One core can ask for 12 GB/s; 300 GB/s are the eight to twelve channels of a server's socket.
"""


@dataclass(frozen=True, kw_only=True)
class CpuMachine:
    """Rates of one core, in cycles, and the sizes that they depend on.

    Parameters
    ----------
    cores : int
    hz : float
        Cycles per second.
    vector_bytes, vector_registers, fma_ports : int
    fma_latency : float
        Cycles until a multiply-add's result can be added to again, while others are under way.
    loads_per_cycle, wide_loads_per_cycle, stores_per_cycle : float
        Broadcasts and scalars; whole vectors; stores of whole vectors.
    gather_cycles : float
        Per lane that is loaded on its own.
    shuffles_per_cycle : float
        Of whole vectors: what puts near neighbours together.
    issue_width : float
        Operations that enter the core per cycle.
    op_cache : float
        Operations that the front end holds decoded; larger bodies are decoded again.
    loop_ops, loop_cycles : float
        Counting and jumping, per iteration of a loop that stays one: operations, and cycles that
        nothing overlaps with.
    spill_cycles : float
        Per vector that has no register and is stored and loaded again.
    odd_vector : float
        How many times longer a vector takes that is longer than a register, no power of two, and
        accumulated in memory.
    window : float
        Operations ahead of the oldest that is not done, among which the core finds work: what the
        reorder buffer holds, 320 in a Zen 4, 448 in a Zen 5.
    narrow_vector : float
        What a vector of half a register's length or less costs, in full ones: half where a core
        has one unit of full width, which is two of half.
    evicted_cycles : float
        Waiting for a line that others of its set have driven out of the first cache since the last
        step: 4 in a loop in C, 5 to 7 in a product and a convolution on a Zen 4.
    run_cycles : tuple of float
        Waiting for the first line of a run of neighbours, from L2, L3 and memory; the prefetchers
        see to the others.
    l1_bytes, l2_bytes, l3_bytes : float
        Of one core; of the last one, its share.
    l2_bytes_per_cycle, l3_bytes_per_cycle, dram_bytes_per_cycle : float
        Into the next smaller cache of one core while all cores ask.
    tlb_pages, tlb_cycles : float
        Pages whose addresses the first translation buffer holds, and cycles for another one.
    line_bytes : int
    fork_s : float
        Starting and joining the threads of one parallel loop, seconds: 2.1e-6 on two cores that
        share an L3, several times as long where they do not.
    """

    cores: int
    hz: float
    vector_bytes: int
    vector_registers: int
    fma_ports: int
    fma_latency: float = 4.0
    loads_per_cycle: float = 3.0
    wide_loads_per_cycle: float = 1.0
    stores_per_cycle: float = 0.25
    gather_cycles: float = 1.5
    shuffles_per_cycle: float = 1.0
    issue_width: float = 5.0
    op_cache: float = 1000.0
    loop_ops: float = 3.0
    loop_cycles: float = 0.6
    spill_cycles: float = 4.0
    evicted_cycles: float = 7.0
    odd_vector: float = 4.0
    window: float = 320.0
    narrow_vector: float = 1.0
    run_cycles: tuple[float, float, float] = (2.0, 10.0, 40.0)
    l1_bytes: float
    l2_bytes: float
    l3_bytes: float
    l2_bytes_per_cycle: float = 64.0
    l3_bytes_per_cycle: float = 9.0
    dram_bytes_per_cycle: float
    tlb_pages: float = 64.0
    tlb_cycles: float = 4.0
    line_bytes: int = 64
    fork_s: float = 4e-6

    @classmethod
    def of(cls, hardware: Hardware) -> CpuMachine:
        """Derive the rates of a device; those that it does not give are typical ones.

        Raises
        ------
        ValueError
            When the device is no CPU.
        """
        if hardware.kind != "cpu":
            raise ValueError(f'expected hardware of kind "cpu", got "{hardware.kind}"')
        lanes = hardware.lanes("float32")
        hz = _DEFAULT_HZ
        if hardware.peak_flops is not None:
            hz = hardware.peak_flops / (2 * lanes * hardware.fma_ports * hardware.cores)
        memory = hardware.dram_bytes_per_s or float(
            np.clip(_DRAM_BYTES_PER_S_OF_A_CORE * hardware.cores, *_DRAM_BYTES_PER_S)
        )
        sharing = min(hardware.l3_cores or hardware.cores, hardware.cores)
        l3 = hardware.l3_bytes / math.ceil(hardware.cores / sharing)
        # A core with one full-width unit also loads and stores one full vector at a time.
        wide = float(hardware.fma_ports)
        made = cls(
            cores=hardware.cores,
            hz=hz,
            vector_bytes=hardware.vector_bytes,
            vector_registers=hardware.vector_registers,
            fma_ports=hardware.fma_ports,
            wide_loads_per_cycle=wide,
            stores_per_cycle=wide / 4,
            narrow_vector=0.5 if hardware.fma_ports == 1 else 1.0,
            l1_bytes=hardware.l1d_bytes,
            l2_bytes=hardware.l2_bytes,
            l3_bytes=max(l3 / sharing, hardware.l2_bytes),
            dram_bytes_per_cycle=memory / hz / hardware.cores,
            line_bytes=hardware.line_bytes,
        )
        return made._with_two_units() if hardware.fma_ports == 2 else made

    def _with_two_units(self) -> CpuMachine:
        """What differs in a core that starts two multiply-adds of full width a cycle.

        Register tiles of a product on a Zen 5, of 240 GFLOP/s at most: 8 sums 205 (4.7 cycles for
        four of arithmetic, as the scheduler does not keep up with a latency of four), 12 and more
        238 to 243; one vector wide and 8, 12, 16, 24 high 207, 216, 221, 223, since a broadcast
        takes the place of a load of a vector. A lane that is loaded by itself and put into its
        vector takes a cycle, where two loads start in one.
        """
        rates = {"fma_latency": 4.6, "loads_per_cycle": 2.0, "l2_bytes_per_cycle": 48.0}
        return replace(self, gather_cycles=1.0, window=448.0, **rates)

    def lanes(self, element_bytes: int) -> float:
        """Elements of a vector register."""
        return max(1.0, self.vector_bytes / element_bytes)

    def intrinsic_cycles(self, name: str, operations: Mapping[str, int]) -> float:
        """Cycles of one call of a tensor intrinsic of a CPU, from what it computes.

        An int8 dot product of VNNI, or of Arm's sdot and udot, makes four products a lane at the
        rate of one multiply-add; others take three instructions. bf16 makes two. Without arithmetic
        (copies, transposes) it is taken to be memory's affair, see `caches`.
        """
        products = operations.get("int.mul", 0) + operations.get("float.mul", 0)
        lanes = self.vector_bytes / 4
        if "vnni" in name or name.endswith(("sdot", "udot")):
            return products / (4 * lanes * self.fma_ports)
        if operations.get("int.mul", 0):
            return 3 * products / (4 * lanes * self.fma_ports)
        if "bf16" in name:
            return products / (2 * lanes * self.fma_ports)
        calls = sum(n for kind, n in operations.items() if kind.startswith("call."))
        return products / (lanes * self.fma_ports) + calls * CALL_CYCLES / lanes
