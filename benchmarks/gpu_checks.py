"""Programs that a GPU must compute rightly: every intrinsic, and sampled configs of the space.

A check runs in a process of its own kind (:mod:`mschedx.measure.pool`): one that crashes, or
leaves the device in error, costs its record only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensor_core
import tvm
from cuda_gemm import tensor_core_gemm
from gpu_stages import Record
from tvm import te
from tvm.s_tir import Schedule
from tvm.target import Target

from mschedx import compat
from mschedx.emulator.check import reference
from mschedx.intrinsics.cuda import INTRINSICS, CudaIntrinsic
from mschedx.measure import verification_jobs, work
from mschedx.measure.pool import Job, JobOutcome, PoolConfig, carry_out, total_memory_bytes
from mschedx.measure.reference import precision
from mschedx.measure.timing import numpy_dtype
from mschedx.measure.tolerance import Difference
from mschedx.space import InvalidSchedule, Sketch, for_target, sketches

TIMEOUT_S = 120.0
WORKLOADS = ("f16", "bf16", "int8", "f16_1000", "bf16_1000", "int8_1000", "conv2d")
"""Names of :data:`tensor_core.WORKLOADS`, those whose types the space gives to tensor cores."""


def device_target() -> Target:
    """Describe the present GPU: architecture, threads, shared memory of a block.

    Raises
    ------
    RuntimeError
        If there is none, or one older than sm_80.
    """
    device = tvm.cuda(0)
    if not device.exist:
        raise RuntimeError("no NVIDIA GPU: tvm.cuda(0).exist is false; --compile-only needs none")
    target = Target.from_device(device)
    major = int(str(device.compute_version).split(".")[0])
    if major < 8:
        raise RuntimeError(f"expected a GPU of sm_80 or newer, got {target.attrs['arch']}")
    return target


def with_shared_memory(target: Target, kib: int) -> Target:
    """Let a block use ``kib`` KiB of shared memory; TVM says 48, what a GPU gives unasked."""
    return Target({**dict(target.export()), "max_shared_memory_per_block": kib * 1024})


@dataclass(frozen=True, slots=True)
class Case:
    """A scheduled program, and what it must compute.

    Attributes
    ----------
    schedule : Schedule
    expected : str
        ``.npz`` file of `mschedx.measure.verification_jobs.run_reference`; empty: only compile.
    relative : float
        Largest error over the largest magnitude.
    """

    schedule: Schedule
    expected: str
    relative: float


@dataclass(frozen=True, slots=True)
class Checker:
    """Run cases, ``workers`` at a time.

    Attributes
    ----------
    target : Target
    workers : int
    compile_only : bool
        Compile to machine code (nvcc or NVRTC) and stop there.
    folder : str
        Where expected results are.
    """

    target: Target
    workers: int
    compile_only: bool
    folder: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="mschedx-gpu-"))

    def run(self, cases: dict[str, Case]) -> Iterator[Record]:
        """Give a record per case: key, ok, reason, max_error."""
        config = PoolConfig(
            workers=self.workers,
            cores=1,
            memory_bytes=max(1 << 30, total_memory_bytes() // (2 * self.workers)),
            recycle_after=1,  # an illegal access leaves the whole process's device in error
        )
        outcomes = carry_out(
            config,
            [lambda case=case: self._job(case) for case in cases.values()],
            kind="build" if self.compile_only else "run",
            timeout_s=TIMEOUT_S,
        )
        for key, outcome in zip(cases, outcomes, strict=True):
            yield {"key": key, **self._verdict(outcome)}

    def reference(self, mod: tvm.IRModule) -> tuple[str, float]:
        """Run the unscheduled program on the CPU: file of the results, tolerance."""
        if self.compile_only:
            return "", 0.0
        config = PoolConfig(
            workers=1, cores=compat.available_cores(), memory_bytes=total_memory_bytes() // 2
        )
        texts = (tvm.ir.save_json(mod), tvm.ir.save_json(self.target))
        job = Job(verification_jobs.run_reference, (*texts, 0, self.folder))
        outcome = carry_out(config, [lambda: job], kind="run", timeout_s=TIMEOUT_S)[0]
        if outcome.error is not None:
            raise RuntimeError(f"the unscheduled program could not be run: {outcome.error}")
        return str(outcome.value), precision(mod).relative_tolerance()

    def whole_numbers(self, mod: tvm.IRModule) -> tuple[str, float]:
        """Run the unscheduled program on the emulator's arguments: file of the results, tolerance.

        They are whole numbers, whose sums of products no type rounds.
        """
        if self.compile_only:
            return "", 0.0
        found = reference(mod, np.random.default_rng(0))
        return self.store(found.before, found.after), found.relative_tolerance

    def store(self, before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> str:
        """Write arguments and results as ``verification_jobs.run_and_compare`` reads them."""
        handle, path = tempfile.mkstemp(suffix=".npz", dir=self.folder)
        raw = {f"before_{i}": _bytes(array) for i, array in enumerate(before)}
        raw |= {f"after_{i}": _bytes(array) for i, array in enumerate(after)}
        raw |= {f"off_{i}": np.float64(0) for i in range(len(after))}
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **raw)
        return path

    def close(self) -> None:
        """Remove the expected results."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _job(self, case: Case) -> Job:
        texts = (tvm.ir.save_json(case.schedule.mod), tvm.ir.save_json(self.target))
        if self.compile_only:
            return Job(work.build_candidate, (*texts, self.folder, None, False))
        return Job(verification_jobs.run_and_compare, (*texts, case.expected, case.relative))

    def _verdict(self, outcome: JobOutcome) -> Record:
        if outcome.error is not None:
            return {"ok": False, "reason": outcome.error[:500]}
        if self.compile_only:
            shutil.rmtree(Path(outcome.value).parent, ignore_errors=True)
            return {"ok": True, "reason": ""}
        found: Difference = outcome.value
        return {"ok": not found.reason, "reason": found.reason, "max_error": found.max_error}


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(array.tobytes(), dtype=np.uint8)


WAYS: dict[str, dict[str, Any]] = {
    "direct": {},
    "static": {"load_scope": "shared"},
    "staged": {"store_scope": "shared.dyn"},
    "pipelined": {"pipeline": "fragments", "steps": 4},
}
"""Ways to use an intrinsic in a hand-made schedule, as arguments of :func:`tensor_core_gemm`."""


def intrinsic_keys(target: Target) -> dict[str, tuple[CudaIntrinsic, str]]:
    """Every intrinsic that the target has in every way, by name."""
    return {
        f"{one.names('shared.dyn', 'global').multiply.removeprefix('mschedx_')}/{way}": (one, way)
        for one in INTRINSICS
        if one.available(target)
        for way in WAYS
    }


def intrinsic_case(checker: Checker, intrinsic: CudaIntrinsic, way: str) -> Case:
    """A hand-made GEMM around an intrinsic, with NumPy's result."""
    choices = WAYS[way]
    if way == "staged" and intrinsic.kind == "wmma":
        choices = {"store_scope": "shared"}  # see CudaIntrinsic.names
    m, n, k = intrinsic.shape
    sizes = 4 * max(m, 32), 4 * max(n, 32), 8 * k
    schedule = tensor_core_gemm(*sizes, intrinsic, **choices)
    if checker.compile_only:
        return Case(schedule, "", 0.0)
    arrays = exact_product(sizes, intrinsic, np.random.default_rng(0))
    return Case(schedule, checker.store(*arrays), 0.0)


def exact_product(
    sizes: tuple[int, int, int], intrinsic: CudaIntrinsic, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Arguments of a GEMM before and after, by NumPy, whose result every order of sums gives.

    Floats are whole numbers from -2 to 2: sums of 256 products of them have no rounding in any of
    the types, float16 included, so the device must agree to the last bit.

    Parameters
    ----------
    sizes : tuple[int, int, int]
        (m, n, k), k at most 256.
    intrinsic : CudaIntrinsic
        Says the types, and whether B is [n, k].
    rng : numpy.random.Generator
    """
    m, n, k = sizes
    low, high = (-128, 128) if intrinsic.in_dtype == "int8" else (-2, 3)
    a = rng.integers(low, high, (m, k))
    b = rng.integers(low, high, (n, k) if intrinsic.b_transposed else (k, n))
    product = a @ (b.T if intrinsic.b_transposed else b)
    inputs = [x.astype(numpy_dtype(intrinsic.in_dtype)) for x in (a, b)]
    out = numpy_dtype(intrinsic.out_dtype)
    return [*inputs, np.full((m, n), 77, out)], [*inputs, product.astype(out)]


def workload(name: str) -> tvm.IRModule:
    """Build a workload of :mod:`tensor_core` as a module."""
    return tvm.IRModule({"main": te.create_prim_func(tensor_core.WORKLOADS[name]())})


def sketches_of(mod: tvm.IRModule, target: Target) -> list[Sketch]:
    """Generate and analyse mschedx's space of a module."""
    return sketches(mod, target, for_target(target))


def sampled(found: list[Sketch], count: int, seed: int) -> list[Schedule | InvalidSchedule]:
    """Draw ``count`` configs, spread over the sketches; always the same ones.

    A sketch with fewer configs than its share gives them several times.
    """
    rng = np.random.default_rng(seed)
    shares = np.array_split(np.arange(count), len(found))
    outcomes: list[Schedule | InvalidSchedule] = []
    for sketch, share in zip(found, shares, strict=True):
        if len(share):
            configs = sketch.sample(len(share), rng)
            outcomes += sketch.schedules(configs[np.arange(len(share)) % len(configs)])
    return outcomes
