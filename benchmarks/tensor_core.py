"""The tensor-core space: how many sampled configs become tensor-core programs that compile.

    python benchmarks/tensor_core.py --configs 200 --only f16,conv2d

For every workload it prints the seconds (and those of all cores together) from the module to the
first 64 schedules of a search round (generate, analyse, count, sample, apply the postprocs), how
many valid configs there are and how many a second are
sampled, and the shares of ``--configs`` uniformly sampled configs, spread over the sketches, that
pass the postprocs, that compile for sm_80 (code generation and nvcc to a cubin), and whose PTX has
``mma.sync`` or ``wmma.mma.sync``; spilled are those that keep values in local memory. Compiling
takes 1-3 s of one core a config; ``--compile`` bounds how many. With ``--drafted`` the configs are
those that DraftVerify proposes before anything is measured, PSA being its draft, over all sketches.
Needs nvcc, no GPU.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.testing import te_workload as tw
from tvm.target import Target

from mschedx import compat
from mschedx.cost.psa import PSAModel
from mschedx.error_text import last_line
from mschedx.search.draft_verify import DraftThenVerify, DraftVerifyConfig
from mschedx.search.history import History
from mschedx.search.points import SketchSet
from mschedx.search.request import Request
from mschedx.search.scoring import NoScorer
from mschedx.space import InvalidSchedule, Sketch, for_target, sketches

TARGET = "nvidia/nvidia-a100"
ARCH = "sm_80"
FIRST = 64


def dense(n: int, dtype: str, out: str) -> list[te.Tensor]:
    """C = A·B of n × n matrices."""
    left, right = (te.placeholder((n, n), dtype, name=name) for name in "AB")
    axis = te.reduce_axis((0, n), name="k")

    def cell(i: te.Var, j: te.Var) -> te.Tensor:
        return te.sum(left[i, axis].astype(out) * right[axis, j].astype(out), axis=axis)

    return [left, right, te.compute((n, n), cell, name="C")]


def conv2d(channels: int, window: int, padding: int) -> list[te.Tensor]:
    """A convolution of a 56 x 56 image to 64 channels."""
    types = {"in_dtype": "float16", "out_dtype": "float32"}
    return tw.conv2d_nhwc(1, 56, 56, channels, 64, window, 1, padding, **types)


WORKLOADS: dict[str, Callable[[], object]] = {
    "f16": lambda: dense(1024, "float16", "float32"),
    "bf16": lambda: dense(1024, "bfloat16", "float32"),
    "tf32": lambda: tw.matmul(1024, 1024, 1024),
    "int8": lambda: dense(1024, "int8", "int32"),
    "f16_1000": lambda: dense(1000, "float16", "float32"),
    "bf16_1000": lambda: dense(1000, "bfloat16", "float32"),
    "tf32_1000": lambda: tw.matmul(1000, 1000, 1000),
    "int8_1000": lambda: dense(1000, "int8", "int32"),
    "conv2d": lambda: conv2d(64, 3, 1),
    "conv2d_1x1": lambda: conv2d(256, 1, 0),
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """What became of one schedule; ``error`` is empty when it compiled."""

    error: str = ""
    tensor_cores: bool = False
    spilled: bool = False
    seconds: float = 0.0


def compile_to_cubin(schedule: Schedule, target: Target) -> Compiled:
    """Generate CUDA, compile it and look for the instructions in the PTX."""
    start = time.perf_counter()
    try:
        source = tvm.compile(schedule.mod, target).mod.imports[0].inspect_source()
    except Exception as error:
        return Compiled(f"codegen: {last_line(error)}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "kernel")
        with open(f"{path}.cu", "w", encoding="utf-8") as file:
            file.write(source)
        flags = ["-cubin", f"-arch={ARCH}", "-Xptxas", "-v", "-w", "--keep", "--keep-dir", folder]
        command = ["nvcc", *flags, "-o", f"{path}.cubin", f"{path}.cu"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            return Compiled(f"nvcc: {built.stderr.strip().splitlines()[0]}")
        with open(f"{path}.ptx", encoding="utf-8") as file:
            found = re.search(r"\bmma\.sync", file.read()) is not None
    spilled = any(int(n) for n in re.findall(r"(\d+) bytes stack frame", built.stderr))
    return Compiled("", found, spilled, time.perf_counter() - start)


def first_round(name: str, target: Target) -> tuple[list, float, float]:
    """The sketches of a workload, and seconds and CPU seconds until 64 configs are schedules."""
    mod = tvm.IRModule({"main": te.create_prim_func(WORKLOADS[name]())})
    start, cpu = time.perf_counter(), time.process_time()
    # As mschedx.tune opens its default space.
    with compat.only_intrinsics(target, compat.own_space_kinds(target)):
        found = sketches(mod, target, for_target(target, tf32=True))
    rng = np.random.default_rng(0)
    for number, share in enumerate(np.array_split(np.arange(FIRST), len(found))):
        found[number].schedules(found[number].sample(len(share), rng))
    return found, time.perf_counter() - start, time.process_time() - cpu


def report(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Measure one workload; see the module's header."""
    target = Target(TARGET)
    found, first_s, first_cpu_s = first_round(name, target)
    rng = np.random.default_rng(arguments.seed)
    schedules: list[Schedule] = []
    reasons: Counter[str] = Counter()
    start = time.perf_counter()
    for sketch in found:
        sketch.sample(20_000, rng)
    sampled_s = time.perf_counter() - start
    draw = drafted if arguments.drafted else sampled
    for sketch, configs in draw(found, arguments.configs, rng):
        for outcome in sketch.schedules(configs):
            if isinstance(outcome, InvalidSchedule):
                reasons[outcome.reason] += 1
            else:
                schedules.append(outcome)
    step = max(1, -(-len(schedules) // arguments.compile)) if arguments.compile else 1
    with ThreadPoolExecutor(arguments.jobs) as pool:
        built = list(pool.map(lambda sch: compile_to_cubin(sch, target), schedules[::step]))
    reasons.update(one.error[:120] for one in built if one.error)
    good = [one for one in built if not one.error]
    return {
        "workload": name,
        "sketches": len(found),
        "configs": sum(sketch.count() or 0 for sketch in found),
        f"first_{FIRST}_s": round(first_s, 2),
        f"first_{FIRST}_cpu_s": round(first_cpu_s, 2),
        "samples_per_s": int(20_000 * len(found) / sampled_s),
        "valid": f"{len(schedules)}/{arguments.configs}",
        "compiled": f"{len(good)}/{len(built)}",
        "tensor_cores": f"{sum(one.tensor_cores for one in good)}/{len(built)}",
        "spilled": sum(one.spilled for one in good),
        "compile_s_each": round(float(np.mean([one.seconds for one in good] or [0])), 2),
        "reasons": dict(reasons),
    }


def sampled(
    found: Sequence[Sketch], count: int, rng: np.random.Generator
) -> Iterator[tuple[Sketch, np.ndarray]]:
    """Draw configs uniformly, as many of each sketch."""
    for sketch, share in zip(found, np.array_split(np.arange(count), len(found))):
        yield sketch, sketch.sample(len(share), rng)


def drafted(
    found: Sequence[Sketch], count: int, rng: np.random.Generator
) -> Iterator[tuple[Sketch, np.ndarray]]:
    """Configs that DraftVerify proposes before anything is measured."""
    space = SketchSet(found)
    search = DraftThenVerify(PSAModel(), DraftVerifyConfig())
    points = search.propose(Request(count, space, History.of(space), NoScorer(), rng))
    points = points.take(np.arange(min(count, len(points))))
    for number, _, configs in space.groups(points):
        yield found[number], configs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configs", type=int, default=200, help="configs to sample a workload")
    parser.add_argument("--compile", type=int, default=0, help="most to compile; all if 0")
    parser.add_argument("--only", default="", help="workloads, separated by commas; all if empty")
    parser.add_argument("--drafted", action="store_true", help="what DraftVerify proposes instead")
    parser.add_argument("--jobs", type=int, default=2, help="compilations at a time")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(WORKLOADS)
    each = arguments.compile or arguments.configs
    minutes = len(names) * each * 2.5 / arguments.jobs / 60
    print(f"{len(names)} workloads, {each} compilations each: about {minutes:.0f} minutes")
    for name in names:
        row = report(name, arguments)
        print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
