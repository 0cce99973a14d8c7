"""The device that a target is for, and whose figures stand in for it where no table has it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from . import host
from .device import KIB, MIB, Hardware
from .tables import ANY_CPU, ARCHS, CPUS, GENERIC_CPU, GPUS, ONE_PRODUCT, TAGS

if TYPE_CHECKING:
    from tvm.target import Target


def device_of(target: Target | dict[str, Any] | str) -> Hardware:
    """Do what `Hardware.from_target` says."""
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


def is_known_gpu(target: Target) -> bool:
    """Whether the rates of a CUDA target are its own, and not those of another GPU in their place.

    A tag says which it is (``{"tag": "nvidia/geforce-rtx-3090"}``, or its name alone where mschedx
    is given it), an architecture only where there is one product of it.
    """
    arch = str(target.attrs.get("arch", "sm_80"))
    return str(target.tag) in TAGS or arch in ONE_PRODUCT


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
    if mcpu in CPUS or mcpu in ANY_CPU or mcpu == host.system_cpu():
        return ""
    like = GENERIC_CPU
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
    tags = [tag for tag, name in TAGS.items() if name in family]
    named = f"name the GPU by its tag ({', '.join(tags)}), or " if tags else ""
    return (
        f"{arch} is of several GPUs: what PSA predicts takes the rates of {used.name}. For its own "
        f"{named}pass mschedx.cost.PSA(mschedx.Hardware.from_device(...))"
        f" ({', '.join(family)}) or PSA(mschedx.Hardware(...))"
    )


def _gpu_base(target: Target) -> Hardware:
    """The entry of the table that a CUDA target gets its rates from."""
    arch = str(target.attrs.get("arch", "sm_80"))
    return GPUS[TAGS.get(str(target.tag), ARCHS.get(arch, "a100"))]


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
    features = llvm_features(str(target))
    vector_bytes, registers = _vector_file(features)
    model = CPUS.get(mcpu, GENERIC_CPU)
    if mcpu == host.system_cpu():
        model = host.host_caches(model)
    cores = int(target.attrs.get("num-cores", 0)) or host.host_cores()
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
def llvm_features(target: str) -> frozenset[str]:
    """What LLVM says that a target, by its text, has; in milliseconds the first time."""
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
