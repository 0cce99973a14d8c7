"""What a device can do: the numbers that spaces, cost models and reports reason with.

A :class:`Hardware` comes from a TVM target (instruction set from ``mcpu`` and ``mattr``, caches
from the operating system when the target is this machine and from a table otherwise, GPU limits
from the target's attributes and a table by tag or architecture). Rates that no table gives for a
CPU are measured by :meth:`Hardware.calibrate`; cost models take typical ones unless they are
handed what it returns (``PSA(Hardware.calibrate())``). Of a device that is in no table
:func:`stand_in` says whose figures are taken.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mschedx import compat

from .cores import allowed_cores

if TYPE_CHECKING:
    from tvm.target import Target

KIB, MIB = 1 << 10, 1 << 20


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
        CPU: architectural vector registers. GPU: 32-bit registers a thread may hold (255).
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
        from tvm.target import Target

        target = target if isinstance(target, Target) else Target(target)
        kind = target.kind.name
        if kind == "llvm":
            return _cpu(target)
        if kind == "cuda":
            return _gpu(target)
        raise ValueError(
            f'expected a target of kind "llvm" or "cuda", got "{kind}"; '
            "build Hardware(kind=..., ...) by hand for another device"
        )

    @staticmethod
    def from_device(name: str) -> Hardware:
        """Look a GPU up by the name of its table entry, e.g. "a100"."""
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

    def with_rates(self, *, peak_flops: float, dram_bytes_per_s: float | None = None) -> Hardware:
        """Give a copy with the device's own rates."""
        found = replace(self, peak_flops=peak_flops, dram_bytes_per_s=dram_bytes_per_s)
        if self.kind != "cuda":
            return found
        # Those of a device that stood in belong to its peak.
        return replace(found, fma_per_cycle=_fma_per_cycle(self.arch))


@dataclass(frozen=True, slots=True)
class _CpuModel:
    """L1d of a core, one L2, one L3, FMAs per cycle, and the cores that share an L2 and an L3."""

    l1d: int
    l2: int
    l3: int
    fma_ports: int
    l3_cores: int = 0
    l2_cores: int = 1


# Caches of a typical part, full-width FMAs per cycle, cores of a complex (vendor manuals). Where no
# cores of an L3 are given, the part has one.
_CPUS = {
    "haswell": _CpuModel(32 * KIB, 256 * KIB, 8 * MIB, 2),
    "broadwell": _CpuModel(32 * KIB, 256 * KIB, 8 * MIB, 2),
    "skylake": _CpuModel(32 * KIB, 256 * KIB, 8 * MIB, 2),
    "skylake-avx512": _CpuModel(32 * KIB, 1 * MIB, 22 * MIB, 2),
    "cascadelake": _CpuModel(32 * KIB, 1 * MIB, 22 * MIB, 2),
    "cooperlake": _CpuModel(32 * KIB, 1 * MIB, 22 * MIB, 2),
    "icelake-server": _CpuModel(48 * KIB, 1280 * KIB, 36 * MIB, 2),
    "sapphirerapids": _CpuModel(48 * KIB, 2 * MIB, 60 * MIB, 2),
    "emeraldrapids": _CpuModel(48 * KIB, 2 * MIB, 60 * MIB, 2),
    "graniterapids": _CpuModel(48 * KIB, 2 * MIB, 60 * MIB, 2),
    "alderlake": _CpuModel(48 * KIB, 1280 * KIB, 30 * MIB, 2),
    "raptorlake": _CpuModel(48 * KIB, 2 * MIB, 36 * MIB, 2),
    "znver1": _CpuModel(32 * KIB, 512 * KIB, 8 * MIB, 1, 4),
    "znver2": _CpuModel(32 * KIB, 512 * KIB, 16 * MIB, 2, 4),
    "znver3": _CpuModel(32 * KIB, 512 * KIB, 32 * MIB, 2, 8),
    "znver4": _CpuModel(32 * KIB, 1 * MIB, 32 * MIB, 1, 8),
    "znver5": _CpuModel(48 * KIB, 1 * MIB, 32 * MIB, 2, 8),
    "neoverse-n1": _CpuModel(64 * KIB, 1 * MIB, 32 * MIB, 2),
    "neoverse-n2": _CpuModel(64 * KIB, 1 * MIB, 32 * MIB, 2),
    "neoverse-v1": _CpuModel(64 * KIB, 1 * MIB, 32 * MIB, 4),
    "neoverse-v2": _CpuModel(64 * KIB, 2 * MIB, 36 * MIB, 4),
    "cortex-a72": _CpuModel(32 * KIB, 1 * MIB, 0, 1, l2_cores=4),
    "apple-m1": _CpuModel(128 * KIB, 12 * MIB, 8 * MIB, 4, l2_cores=4),
}
_GENERIC_CPU = _CpuModel(32 * KIB, 512 * KIB, 8 * MIB, 1)

# Thread blocks that a multiprocessor holds: "Technical Specifications per Compute Capability" of
# the CUDA C++ Programming Guide.
_BLOCKS_PER_SM = {"sm_37": 16, "sm_75": 16, "sm_86": 16, "sm_87": 16, "sm_89": 24}

# fp32 multiply-adds of a multiprocessor per cycle, 128 where none are given: "Throughput of Native
# Arithmetic Instructions" of the same guide.
_FMA_PER_CYCLE = {"sm_37": 192, "sm_60": 64, "sm_70": 64, "sm_72": 64, "sm_75": 64, "sm_80": 64}


def _fma_per_cycle(arch: str) -> int:
    return _FMA_PER_CYCLE.get(arch, 128)


def _nvidia(
    name: str,
    arch: str,
    sm: int,
    gflops: float,
    gbps: float,
    l2_mib: float,
    shared_kib: int,
    tensor_tflops: float | None,
    max_threads_per_sm: int = 2048,
) -> Hardware:
    return Hardware(
        kind="cuda",
        name=name,
        cores=sm,
        vector_registers=255,
        fma_per_cycle=_fma_per_cycle(arch),
        l1d_bytes=shared_kib * KIB,
        l2_bytes=int(l2_mib * MIB),
        line_bytes=128,
        peak_flops=gflops * 1e9,
        peak_tensor_flops=None if tensor_tflops is None else tensor_tflops * 1e12,
        dram_bytes_per_s=gbps * 1e9,
        arch=arch,
        warp_size=32,
        max_threads_per_block=1024,
        max_threads_per_sm=max_threads_per_sm,
        max_blocks_per_sm=_BLOCKS_PER_SM.get(arch, 32),
        registers_per_block=65536,
        max_shared_bytes_per_block=48 * KIB,
        shared_bytes_per_sm=shared_kib * KIB,
    )


# fp32 GFLOP/s, GB/s, SMs, L2, shared memory per SM and dense f16 tensor TFLOP/s (vendor sheets).
GPUS = {
    g.name: g
    for g in (
        _nvidia("k80", "sm_37", 26, 8226, 480, 3, 112, None),
        _nvidia("v100", "sm_70", 80, 15700, 900, 6, 96, 125),
        _nvidia("titanv", "sm_70", 80, 14900, 651, 4.5, 96, 110),
        _nvidia("t4", "sm_75", 40, 8141, 320, 4, 64, 65, 1024),
        _nvidia("a100", "sm_80", 108, 19490, 1935, 40, 164, 312),
        _nvidia("a100_40", "sm_80", 108, 19490, 1555, 40, 164, 312),
        _nvidia("rtx3090", "sm_86", 82, 35580, 936, 6, 100, 71, 1536),
        _nvidia("orin", "sm_87", 16, 2660, 204, 4, 164, 43, 1536),
        _nvidia("rtx4090", "sm_89", 128, 82580, 1008, 72, 100, 165, 1536),
        _nvidia("h100", "sm_90", 132, 66900, 3350, 50, 228, 989),
        _nvidia("h200", "sm_90", 132, 66900, 4800, 50, 228, 989),
        _nvidia("b200", "sm_100", 148, 75000, 8000, 126, 228, 2250),
    )
}
_TAGS = {
    "nvidia/nvidia-a100": "a100",
    "nvidia/nvidia-t4": "t4",
    "nvidia/nvidia-v100": "v100",
    "nvidia/nvidia-titan-v": "titanv",
    "nvidia/nvidia-h100": "h100",
    "nvidia/geforce-rtx-3090": "rtx3090",
    "nvidia/geforce-rtx-4090": "rtx4090",
    "nvidia/jetson-agx-orin-32gb": "orin",
    "nvidia/jetson-agx-orin-64gb": "orin",
}
_ARCHS = {
    "sm_37": "k80",
    "sm_70": "v100",
    "sm_75": "t4",
    "sm_80": "a100",
    "sm_86": "rtx3090",
    "sm_87": "orin",
    "sm_89": "rtx4090",
    "sm_90": "h100",
    "sm_90a": "h100",
    "sm_100": "b200",
    "sm_100a": "b200",
}


_ONE_PRODUCT = ("sm_70", "sm_80", "sm_100", "sm_100a")
"""Architectures whose GPUs have about the same rates.

Others are of cards large and small; sm_90 is an H100 or an H200, of 3350 or 4800 GB/s.
"""


def is_known_gpu(target: Target) -> bool:
    """Whether the rates of a CUDA target are its own, and not those of another GPU in their place.

    A tag says which it is (``{"tag": "nvidia/geforce-rtx-3090"}``, or its name alone where mschedx
    is given it), an architecture only where there is one product of it.
    """
    arch = str(target.attrs.get("arch", "sm_80"))
    return str(target.tag) in _TAGS or arch in _ONE_PRODUCT


_ANY_CPU = ("generic", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")
"""What LLVM calls no CPU in particular."""


def stand_in(target: Target) -> str:
    """Say whose figures are taken for a device that is in no table, and how to give its own.

    Returns
    -------
    str
        Empty for a device whose figures are known: a GPU of `is_known_gpu`, a CPU of the table or
        the one of this machine, whose caches the system tells. So it is for a target that names no
        CPU in particular, and for kinds of which there is no `Hardware`.
    """
    if target.kind.name == "cuda":
        return "" if is_known_gpu(target) else _gpu_stand_in(target)
    if target.kind.name != "llvm":
        return ""
    mcpu = str(target.attrs.get("mcpu", "generic"))
    if mcpu in _CPUS or mcpu in _ANY_CPU or mcpu == system_cpu():
        return ""
    like = _GENERIC_CPU
    return (
        f"the CPU {mcpu} is in no table of mschedx's and not this machine's: what PSA predicts "
        f"takes figures of a generic one ({like.l1d // KIB} KiB of L1, {like.l2 // KIB} KiB of L2, "
        f"{like.l3 // MIB} MiB of L3, {like.fma_ports} multiply-add a cycle). For its own pass "
        "mschedx.cost.PSA(mschedx.calibrate()) on that machine, or PSA(mschedx.Hardware(...))"
    )


def _gpu_stand_in(target: Target) -> str:
    arch = str(target.attrs.get("arch", "sm_80"))
    used = _gpu_base(target)
    family = [gpu.name for gpu in GPUS.values() if gpu.arch == arch.removesuffix("a")]
    if not family:
        return (
            f"no GPU of {arch} is in mschedx's table: what PSA predicts takes the rates of "
            f"{used.name}. "
            "For its own pass mschedx.cost.PSA(mschedx.Hardware.from_target(target).with_rates("
            "peak_flops=..., dram_bytes_per_s=...)), or PSA(mschedx.Hardware(...))"
        )
    tags = [tag for tag, name in _TAGS.items() if name in family]
    named = f"name the GPU by its tag ({', '.join(tags)}), or " if tags else ""
    return (
        f"{arch} is of several GPUs: what PSA predicts takes the rates of {used.name}. For its own "
        f"{named}pass mschedx.cost.PSA(mschedx.Hardware.from_device(...))"
        f" ({', '.join(family)}) or PSA(mschedx.Hardware(...))"
    )


def _gpu_base(target: Target) -> Hardware:
    """The entry of the table that a CUDA target gets its rates from."""
    arch = str(target.attrs.get("arch", "sm_80"))
    return GPUS[_TAGS.get(str(target.tag), _ARCHS.get(arch, "a100"))]


def _gpu(target: Target) -> Hardware:
    arch = str(target.attrs.get("arch", "sm_80"))
    base = _gpu_base(target)

    def attribute(name: str, default: int) -> int:
        return int(target.attrs.get(name, default))

    return replace(
        base,
        arch=arch,
        l2_bytes=attribute("l2_cache_size_bytes", base.l2_bytes),
        warp_size=attribute("thread_warp_size", base.warp_size),
        max_threads_per_block=attribute("max_threads_per_block", base.max_threads_per_block),
        registers_per_block=attribute("registers_per_block", base.registers_per_block),
        max_shared_bytes_per_block=attribute(
            "max_shared_memory_per_block", base.max_shared_bytes_per_block
        ),
    )


def _cpu(target: Target) -> Hardware:
    mcpu = str(target.attrs.get("mcpu", "generic"))
    features = _llvm_features(str(target))
    vector_bytes, registers = _vector_file(features)
    model = _CPUS.get(mcpu, _GENERIC_CPU)
    if mcpu == system_cpu():
        model = host_caches(model)
    cores = int(target.attrs.get("num-cores", 0)) or host_cores()
    sharing = min(model.l3_cores or cores, cores)
    return Hardware(
        kind="cpu",
        name=mcpu,
        cores=cores,
        features=features,
        vector_bytes=vector_bytes,
        vector_registers=registers,
        fma_ports=model.fma_ports,
        l1d_bytes=model.l1d,
        l2_bytes=model.l2 // min(model.l2_cores, cores),
        l3_bytes=model.l3 * -(-cores // sharing),
        l3_cores=sharing,
    )


@cache
def system_cpu() -> str:
    """What LLVM calls this machine's CPU."""
    from tvm.target import codegen

    return str(codegen.llvm_get_system_cpu())


@cache
def _llvm_features(target: str) -> frozenset[str]:
    """What LLVM says that a target has, in milliseconds the first time it is asked."""
    from tvm.target import Target, codegen

    return frozenset(str(f) for f in codegen.llvm_get_cpu_features(Target(target)))


def _vector_file(features: frozenset[str]) -> tuple[int, int]:
    """Bytes of a vector register and their number, for x86 and Arm instruction sets."""
    if "avx512f" in features:
        return 64, 32
    if "avx" in features:
        return 32, 16
    if "neon" in features or "asimd" in features:
        return 16, 32
    return 16, 16


def host_cores() -> int:
    """Cores this process may use (hardware threads of one core count once where known)."""
    import psutil

    usable = compat.available_cores()
    cores = allowed_cores() or psutil.cpu_count(logical=False) or usable
    return max(1, min(usable, cores))


def kernel_cores(target: Target) -> int | None:
    """How many threads kernels of a CPU target are measured with; None for all of this process.

    Its ``num-cores``, unless that is what the machine has, or more than this process may use.
    """
    if target.kind.name != "llvm":
        return None
    asked = int(target.attrs.get("num-cores", 0)) or None
    if asked is None or asked == host_cores() or asked >= compat.available_cores():
        return None
    return asked


_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@cache
def host_caches(fallback: _CpuModel) -> _CpuModel:
    """Read the caches of core 0 from Linux; `fallback` for what it does not tell."""
    found: dict[str, int] = {}
    sharing: dict[str, int] = {}
    for index in sorted(_CACHES.glob("index*")):
        try:
            level, kind, text = (
                (index / name).read_text().strip() for name in ("level", "type", "size")
            )
            unit = {"K": KIB, "M": MIB, "G": 1 << 30}.get(text[-1:], 1)
            size = int(text.rstrip("KMG")) * unit
        except (OSError, ValueError):  # Arm has no file for a size that it does not know
            continue
        key = {"1": "l1d", "2": "l2", "3": "l3"}.get(level)
        if key and kind != "Instruction":
            found[key] = size
            with contextlib.suppress(OSError, ValueError):
                sharing[key] = _threads_in((index / "shared_cpu_list").read_text())
    # Those that share the first cache are the threads of one core.
    threads = sharing.get("l1d", 1)
    for key in ("l2", "l3"):
        if key in found and key in sharing:
            found[f"{key}_cores"] = max(1, sharing[key] // threads)
    return replace(fallback, **found)


def _threads_in(text: str) -> int:
    """How many hardware threads a list of Linux names: 6 of "0-3,8-9"."""
    ends = [part.split("-") for part in text.strip().split(",")]
    return sum(int(part[-1]) - int(part[0]) + 1 for part in ends)


def host_target() -> Target:
    """Describe this machine as a tuning target: its ``mcpu`` and all its cores."""
    from tvm.target import Target

    return Target({"kind": "llvm", "mcpu": system_cpu(), "num-cores": host_cores()})
