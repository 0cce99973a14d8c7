"""What the system says of this machine's CPU."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mschedx import compat

from .cores import allowed_cores
from .device import KIB, MIB
from .tables import CpuModel

if TYPE_CHECKING:
    from tvm.target import Target


@cache
def system_cpu() -> str:
    """What LLVM calls this machine's CPU."""
    from tvm.target import codegen

    return str(codegen.llvm_get_system_cpu())


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
def host_caches(fallback: CpuModel) -> CpuModel:
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
