"""The numbers of one device."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm.target import Target

KIB, MIB = 1 << 10, 1 << 20


THREAD_REGISTERS = 255
"""32-bit registers that a thread of a GPU may hold, of every compute capability from 3.5 on.

References
----------
CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Limits and rates of one device. Sizes in bytes, rates per second, ``None`` = not known.

    Attributes
    ----------
    kind : str
        "cpu" or "cuda".
    name : str
        ``mcpu`` of a CPU, table key of a GPU ("a100").
    cores : int
        CPU: cores that a kernel may use. GPU: streaming multiprocessors.
    features : frozenset[str]
        LLVM feature names ("avx512vnni", "avx2", ...); ask with :meth:`has`.
    vector_bytes : int
        CPU: width of a vector register. GPU: widest load of a thread (16).
    vector_registers : int
        CPU: architectural vector registers. GPU: `THREAD_REGISTERS`.
    fma_ports : int
        CPU: full-width vector FMAs that one core starts per cycle.
    fma_per_cycle : int
        GPU: fp32 multiply-adds that a multiprocessor does per cycle; with the peak they tell the
        clock. CPU: 0.
    l1d_bytes, l2_bytes, l3_bytes : int
        CPU: L1 of one core and its share of the L2, all L3 that the cores have together (0 = none).
        GPU: L1/shared of an SM, L2, 0.
    l3_cores : int
        CPU: cores that share one L3, of which there may be several; 0 = all. GPU: 0.
    line_bytes : int
        Cache line.
    peak_flops : float | None
        fp32 FLOP/s of the whole device.
    peak_tensor_flops : float | None
        Dense f16 tensor-core FLOP/s.
    dram_bytes_per_s : float | None
        Memory bandwidth of the whole device.
    max_threads_per_sm, max_blocks_per_sm : int
        GPU: what a multiprocessor holds at a time. CPU: 0.
    """

    kind: str
    name: str
    cores: int
    features: frozenset[str] = frozenset()
    vector_bytes: int = 16
    vector_registers: int = 16
    fma_ports: int = 1
    fma_per_cycle: int = 0
    l1d_bytes: int = 32 * KIB
    l2_bytes: int = 512 * KIB
    l3_bytes: int = 0
    l3_cores: int = 0
    line_bytes: int = 64
    peak_flops: float | None = None
    peak_tensor_flops: float | None = None
    dram_bytes_per_s: float | None = None
    arch: str = ""
    warp_size: int = 0
    max_threads_per_block: int = 0
    max_threads_per_sm: int = 0
    max_blocks_per_sm: int = 0
    registers_per_block: int = 0
    max_shared_bytes_per_block: int = 0
    shared_bytes_per_sm: int = 0

    @staticmethod
    def from_target(target: Target | dict[str, Any] | str) -> Hardware:
        """Read a target.

        Of a GPU every field is filled that has a meaning for one, rates included: limits from the
        target, where it says them, all else from the table (see `stand_in`). Of a CPU rates are
        None, ``arch`` is empty, and what only GPUs have is 0.

        Raises
        ------
        ValueError
            For a kind that is neither llvm nor cuda.
        """
        from .targets import device_of

        return device_of(target)

    @staticmethod
    def from_device(name: str) -> Hardware:
        """Look a GPU up by the name of its table entry, e.g. "a100"."""
        from .tables import GPUS

        if name not in GPUS:
            raise ValueError(f'unknown device "{name}"; known: {", ".join(sorted(GPUS))}')
        return GPUS[name]

    @staticmethod
    def calibrate(target: Target | None = None, *, again: bool = False) -> Hardware:
        """Describe this machine's CPU with rates that are measured: `mschedx.calibrate`.

        Parameters
        ----------
        target : Target, optional
            An llvm target for this machine; all cores of it when None.
        again : bool
            Measure although there are remembered rates.
        """
        from .peak import calibrate

        return calibrate(target, again=again)

    def has(self, feature: str) -> bool:
        """Whether the instruction set has `feature`; "avx512_vnni" and "avx512vnni" are one."""
        return feature.replace("_", "") in self.features

    def lanes(self, dtype: str) -> int:
        """Elements of `dtype` in one vector register, at least 1."""
        bits = re.search(r"\d+", dtype)
        return max(1, self.vector_bytes * 8 // int(bits.group() if bits else 32))

    def known_rates(self) -> tuple[float, float]:
        """`peak_flops` and `dram_bytes_per_s`, for who reasons with both.

        Raises
        ------
        ValueError
            Where one is not known.
        """
        if self.peak_flops is None or self.dram_bytes_per_s is None:
            raise ValueError(
                f"expected hardware with peak_flops and dram_bytes_per_s, got {self.name} without: "
                "take a device of the table (Hardware.from_device) or set them with with_rates"
            )
        return self.peak_flops, self.dram_bytes_per_s

    def with_rates(self, *, peak_flops: float, dram_bytes_per_s: float | None = None) -> Hardware:
        """Give a copy with the device's own rates."""
        found = replace(self, peak_flops=peak_flops, dram_bytes_per_s=dram_bytes_per_s)
        if self.kind != "cuda":
            return found
        from .tables import fma_per_cycle

        # Those of a device that stood in belong to its peak.
        return replace(found, fma_per_cycle=fma_per_cycle(self.arch))
