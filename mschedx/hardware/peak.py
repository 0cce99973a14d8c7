"""The fastest this machine can multiply and add, measured: the roof over every kernel.

One TIR kernel of independent fused multiply-adds on every core, with all operands in registers,
so nothing but the arithmetic units can limit it; TVM compiles it, so no other compiler is needed.
A second kernel reads an array larger than the caches for the memory rate.
"""

# pyright: reportInvalidTypeForm=none, reportMissingModuleSource=none
# TVMScript: buffers are declared where Python has types, by a module made at run time.

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mschedx import compat
from mschedx.files import write_atomic
from mschedx.hardware import Hardware, host_target

if TYPE_CHECKING:
    from tvm.target import Target

_CHAINS = 24  # covers an FMA's latency of 4-6 cycles on two to four ports


@dataclass(frozen=True, slots=True)
class PeakKernel:
    """A compiled kernel that does nothing but `flops` operations; call it on `arrays`."""

    function: Any
    arrays: tuple[np.ndarray, ...]
    flops: float

    def call(self) -> Callable[[], Any]:
        """Bind the arrays, to be called without arguments."""
        import tvm

        tensors = [tvm.runtime.tensor(a) for a in self.arrays]
        return lambda: self.function(*tensors)


def peak_kernel(target: Target | None = None, steps: int = 200_000) -> PeakKernel:
    """Compile the multiply-add kernel for all cores of a target for this machine.

    Parameters
    ----------
    target : Target, optional
        An llvm target; this machine with all its cores when None.
    steps : int
        Multiply-adds of each of the independent chains.
    """
    target = target or host_target()
    hardware = Hardware.from_target(target)
    lanes = hardware.lanes("float32")
    chains = min(hardware.vector_registers - 4, _CHAINS)
    function = _compiled(_fma_kernel(hardware.cores, lanes, chains, steps), target)
    operands = np.concatenate([np.full(lanes, 0.5), np.full(lanes, 1.0)]).astype("float32")
    sums = np.zeros(hardware.cores * chains * lanes, "float32")
    return PeakKernel(function, (operands, sums), 2.0 * hardware.cores * lanes * chains * steps)


def measure_peak_flops(target: Target | None = None, seconds: float = 0.5) -> float:
    """Measure fp32 FLOP/s of this machine, all cores of the target together.

    Parameters
    ----------
    target : Target, optional
        An llvm target for this machine; all cores of it when None.
    seconds : float
        How long to measure; the fastest of the runs in that time counts.
    """
    kernel = peak_kernel(target)
    return kernel.flops / _fastest(kernel, seconds)


def measure_dram_bytes_per_s(target: Target | None = None, seconds: float = 0.5) -> float:
    """Measure bytes read from memory per second, all cores of the target together."""
    target = target or host_target()
    hardware = Hardware.from_target(target)
    lanes = hardware.lanes("float32")
    elements = max(64 << 20, 4 * hardware.l3_bytes) // 4
    per_core = elements // (hardware.cores * lanes * 8) * lanes * 8
    kernel = _compiled(_read_kernel(hardware.cores, per_core, lanes), target)
    source = np.ones(per_core * hardware.cores, "float32")
    sums = np.zeros(hardware.cores * lanes * 8, "float32")
    return source.nbytes / _fastest(PeakKernel(kernel, (source, sums), 0.0), seconds)


def calibrate(target: Target | None = None, *, again: bool = False) -> Hardware:
    """Give this machine's :class:`Hardware` with measured rates.

    They are measured once, in about a second, and remembered in `remembered_in`; what a busy
    machine measures is too low, so of several measurements the greatest counts.

    Parameters
    ----------
    target : Target, optional
        An llvm target for this machine; all cores of it when None.
    again : bool
        Measure although there are remembered rates.
    """
    target = target or host_target()
    hardware = Hardware.from_target(target)
    # Two targets of one machine may use different instructions.
    features = zlib.crc32(",".join(sorted(hardware.features)).encode())
    key = f"{cpu_model()}, {hardware.name}, {hardware.cores} cores, {features:08x}"
    known = _remembered()
    rates = known.get(key)
    if rates is None or again:
        flops, bytes_per_s = rates or (0.0, 0.0)
        rates = (
            max(flops, measure_peak_flops(target)),
            max(bytes_per_s, measure_dram_bytes_per_s(target)),
        )
        _remember({**known, key: rates})
    peak_flops, dram_bytes_per_s = rates
    return hardware.with_rates(peak_flops=peak_flops, dram_bytes_per_s=dram_bytes_per_s)


def remembered_in() -> Path:
    """The file of measured rates: ``$XDG_CACHE_HOME/mschedx/rates.json``, or below ``~/.cache``."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mschedx" / "rates.json"


def _remembered() -> dict[str, tuple[float, float]]:
    """Rates by machine; none where the file is missing or not one of ours."""
    try:
        content = json.loads(remembered_in().read_text())
        found = {str(key): (float(a), float(b)) for key, (a, b) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return {}
    return {key: rates for key, rates in found.items() if min(rates) > 0}


def _remember(rates: dict[str, tuple[float, float]]) -> None:
    """Write the file, whole or not at all; a home that cannot be written is no reason to stop."""
    path = remembered_in()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(rates, indent=1) + "\n")


def cpu_model() -> str:
    """What the system calls this machine's CPU."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _compiled(func: Any, target: Target) -> Any:
    import tvm

    return tvm.compile(tvm.IRModule({"main": func}), target=target)["main"]


def _fastest(kernel: PeakKernel, seconds: float) -> float:
    """Seconds of the fastest of the runs that fit into `seconds`, at least five."""

    def measure() -> float:
        call = kernel.call()
        best, runs, begin = np.inf, 0, time.perf_counter()
        while runs < 5 or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - start)
            runs += 1
        return float(best)

    return compat.on_cores(compat.available_cores(), measure)


def _fma_kernel(cores: int, lanes: int, chains: int, steps: int) -> Any:
    with compat.fast_script():
        from tvm.script import tirx as T

        @T.prim_func(s_tir=True)
        def main(
            x: T.Buffer((2 * lanes,), "float32"), y: T.Buffer((cores * chains * lanes,), "float32")
        ):
            T.func_attr({"global_symbol": "main", "tirx.noalias": True})
            for core in T.parallel(cores):
                with T.sblock("core"):
                    c = T.axis.spatial(cores, core)
                    total = T.sblock_alloc_buffer((chains * lanes,), "float32", scope="local")
                    for j in T.unroll(chains):
                        for v in T.vectorized(lanes):
                            total[j * lanes + v] = T.float32(j)
                    for _ in range(steps):
                        for j in T.unroll(chains):
                            for v in T.vectorized(lanes):
                                total[j * lanes + v] = total[j * lanes + v] * x[v] + x[lanes + v]
                    for j in T.unroll(chains):
                        for v in T.vectorized(lanes):
                            y[(c * chains + j) * lanes + v] = total[j * lanes + v]

        return main


def _read_kernel(cores: int, per_core: int, lanes: int) -> Any:
    with compat.fast_script():
        from tvm.script import tirx as T

        @T.prim_func(s_tir=True)
        def main(
            x: T.Buffer((cores * per_core,), "float32"),
            y: T.Buffer((cores * 8 * lanes,), "float32"),
        ):
            T.func_attr({"global_symbol": "main", "tirx.noalias": True})
            for core in T.parallel(cores):
                with T.sblock("core"):
                    c = T.axis.spatial(cores, core)
                    total = T.sblock_alloc_buffer((8 * lanes,), "float32", scope="local")
                    for j in T.unroll(8):
                        for v in T.vectorized(lanes):
                            total[j * lanes + v] = T.float32(0)
                    for i in range(per_core // (8 * lanes)):
                        for j in T.unroll(8):
                            for v in T.vectorized(lanes):
                                total[j * lanes + v] = (
                                    total[j * lanes + v] + x[c * per_core + (i * 8 + j) * lanes + v]
                                )
                    for j in T.unroll(8):
                        for v in T.vectorized(lanes):
                            y[(c * 8 + j) * lanes + v] = total[j * lanes + v]

        return main
