"""Figures of CPUs and GPUs by name: a new device is a row here."""

from __future__ import annotations

from dataclasses import dataclass

from .device import KIB, MIB, THREAD_REGISTERS, Hardware


@dataclass(frozen=True, slots=True)
class CpuModel:
    """L1d of a core, one L2, one L3, FMAs per cycle, and the cores that share an L2 and an L3."""

    l1d: int
    l2: int
    l3: int
    fma_ports: int
    l3_cores: int = 0
    l2_cores: int = 1


# Caches of a typical part, full-width FMAs per cycle, cores of a complex (vendor manuals). Where no
# cores of an L3 are given, the part has one.
CPUS = {
    "haswell": CpuModel(32 * KIB, 256 * KIB, 8 * MIB, 2),
    "broadwell": CpuModel(32 * KIB, 256 * KIB, 8 * MIB, 2),
    "skylake": CpuModel(32 * KIB, 256 * KIB, 8 * MIB, 2),
    "skylake-avx512": CpuModel(32 * KIB, 1 * MIB, 22 * MIB, 2),
    "cascadelake": CpuModel(32 * KIB, 1 * MIB, 22 * MIB, 2),
    "cooperlake": CpuModel(32 * KIB, 1 * MIB, 22 * MIB, 2),
    "icelake-server": CpuModel(48 * KIB, 1280 * KIB, 36 * MIB, 2),
    "sapphirerapids": CpuModel(48 * KIB, 2 * MIB, 60 * MIB, 2),
    "emeraldrapids": CpuModel(48 * KIB, 2 * MIB, 60 * MIB, 2),
    "graniterapids": CpuModel(48 * KIB, 2 * MIB, 60 * MIB, 2),
    "alderlake": CpuModel(48 * KIB, 1280 * KIB, 30 * MIB, 2),
    "raptorlake": CpuModel(48 * KIB, 2 * MIB, 36 * MIB, 2),
    "znver1": CpuModel(32 * KIB, 512 * KIB, 8 * MIB, 1, 4),
    "znver2": CpuModel(32 * KIB, 512 * KIB, 16 * MIB, 2, 4),
    "znver3": CpuModel(32 * KIB, 512 * KIB, 32 * MIB, 2, 8),
    "znver4": CpuModel(32 * KIB, 1 * MIB, 32 * MIB, 1, 8),
    "znver5": CpuModel(48 * KIB, 1 * MIB, 32 * MIB, 2, 8),
    "neoverse-n1": CpuModel(64 * KIB, 1 * MIB, 32 * MIB, 2),
    "neoverse-n2": CpuModel(64 * KIB, 1 * MIB, 32 * MIB, 2),
    "neoverse-v1": CpuModel(64 * KIB, 1 * MIB, 32 * MIB, 4),
    "neoverse-v2": CpuModel(64 * KIB, 2 * MIB, 36 * MIB, 4),
    "cortex-a72": CpuModel(32 * KIB, 1 * MIB, 0, 1, l2_cores=4),
    "apple-m1": CpuModel(128 * KIB, 12 * MIB, 8 * MIB, 4, l2_cores=4),
}
GENERIC_CPU = CpuModel(32 * KIB, 512 * KIB, 8 * MIB, 1)

ANY_CPU = ("generic", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")
"""What LLVM calls no CPU in particular."""

# Thread blocks and threads that a multiprocessor holds: "Technical Specifications per Compute
# Capability" of the CUDA C++ Programming Guide.
_BLOCKS_PER_SM = {"sm_37": 16, "sm_75": 16, "sm_86": 16, "sm_87": 16, "sm_89": 24}
_THREADS_PER_SM = {"sm_75": 1024, "sm_86": 1536, "sm_87": 1536, "sm_89": 1536}

# fp32 multiply-adds of a multiprocessor per cycle, 128 where none are given: "Throughput of Native
# Arithmetic Instructions" of the same guide.
_FMA_PER_CYCLE = {"sm_37": 192, "sm_60": 64, "sm_70": 64, "sm_72": 64, "sm_75": 64, "sm_80": 64}


def fma_per_cycle(arch: str) -> int:
    """How many fp32 multiply-adds a multiprocessor does per cycle."""
    return _FMA_PER_CYCLE.get(arch, 128)


def _nvidia(
    name: str,
    arch: str,
    sm: int,
    *,
    gflops: float,
    gbps: float,
    l2_mib: float,
    shared_kib: int,
    f16_tflops: float | None,
) -> Hardware:
    """fp32 GFLOP/s, GB/s, SMs, L2, shared memory per SM, dense f16 TFLOP/s of tensor cores."""
    return Hardware(
        kind="cuda",
        name=name,
        cores=sm,
        vector_registers=THREAD_REGISTERS,
        fma_per_cycle=fma_per_cycle(arch),
        l1d_bytes=shared_kib * KIB,
        l2_bytes=int(l2_mib * MIB),
        line_bytes=128,
        peak_flops=gflops * 1e9,
        peak_tensor_flops=None if f16_tflops is None else f16_tflops * 1e12,
        dram_bytes_per_s=gbps * 1e9,
        arch=arch,
        warp_size=32,
        max_threads_per_block=1024,
        max_threads_per_sm=_THREADS_PER_SM.get(arch, 2048),
        max_blocks_per_sm=_BLOCKS_PER_SM.get(arch, 32),
        registers_per_block=65536,
        max_shared_bytes_per_block=48 * KIB,
        shared_bytes_per_sm=shared_kib * KIB,
    )


# Vendor sheets. A kernel runs on one of a K80's two dies, which CUDA lists as two devices.
_GPUS = (
    _nvidia("k80", "sm_37", 13, gflops=4113, gbps=240, l2_mib=1.5, shared_kib=112, f16_tflops=None),
    _nvidia("v100", "sm_70", 80, gflops=15700, gbps=900, l2_mib=6, shared_kib=96, f16_tflops=125),
    _nvidia(
        "titanv", "sm_70", 80, gflops=14900, gbps=651, l2_mib=4.5, shared_kib=96, f16_tflops=110
    ),
    _nvidia("t4", "sm_75", 40, gflops=8141, gbps=320, l2_mib=4, shared_kib=64, f16_tflops=65),
    _nvidia(
        "a100", "sm_80", 108, gflops=19490, gbps=1935, l2_mib=40, shared_kib=164, f16_tflops=312
    ),
    _nvidia(
        "a100_40", "sm_80", 108, gflops=19490, gbps=1555, l2_mib=40, shared_kib=164, f16_tflops=312
    ),
    _nvidia(
        "rtx3090", "sm_86", 82, gflops=35580, gbps=936, l2_mib=6, shared_kib=100, f16_tflops=71
    ),
    _nvidia("orin", "sm_87", 16, gflops=2660, gbps=204, l2_mib=4, shared_kib=164, f16_tflops=43),
    _nvidia(
        "rtx4090", "sm_89", 128, gflops=82580, gbps=1008, l2_mib=72, shared_kib=100, f16_tflops=165
    ),
    _nvidia(
        "h100", "sm_90", 132, gflops=66900, gbps=3350, l2_mib=50, shared_kib=228, f16_tflops=989
    ),
    _nvidia(
        "h200", "sm_90", 132, gflops=66900, gbps=4800, l2_mib=50, shared_kib=228, f16_tflops=989
    ),
    _nvidia(
        "b200", "sm_100", 148, gflops=75000, gbps=8000, l2_mib=126, shared_kib=228, f16_tflops=2250
    ),
)
GPUS = {gpu.name: gpu for gpu in _GPUS}
TAGS = {
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
ARCHS = {
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
ONE_PRODUCT = ("sm_70", "sm_80", "sm_100", "sm_100a")
"""Architectures whose GPUs have about the same rates.

Others are of cards large and small; sm_90 is an H100 or an H200, of 3350 or 4800 GB/s.
"""
