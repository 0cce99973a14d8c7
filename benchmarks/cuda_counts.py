"""What statements say a program executes, against what the emulator counts.

    python benchmarks/cuda_counts.py --configs 24

For sampled configs of small workloads (no GPU): multiplications by tensor cores, bytes that copies
read of global memory and write to shared memory, bytes that warps load from shared memory, as
statements give them and as executed; and two terms of the analytical model, the factor of bank
conflicts of a warp's loads and the sectors between L2 and a multiprocessor. Each line is model over
emulator: least, median, largest. 1.00 everywhere means equal.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from cuda_workloads import TARGET, WORKLOADS
from tvm.target import Target

from mschedx.cost.analytical import cuda, cuda_block
from mschedx.cost.analytical.view import ProgramView, StatementView
from mschedx.emulator import Counts, ExecutionOptions
from mschedx.emulator.check import Reference, check, reference
from mschedx.space import Sketch

DEFAULT = ("f16", "f16_nt", "s8_nt", "tf32_nt", "bf16_batch", "conv_3x3", "cores_f32")
Ratios = dict[str, list[float]]


def predicted(sketch: Sketch, config: np.ndarray) -> dict[str, float]:
    """What the statements and the model say of one config."""
    configs = config[None]
    program = ProgramView(sketch.statements, sketch.analysis.allocations)(configs)
    views = program.statements
    kernel = next(v.statement.kernel for v in views if v.statement.kernel is not None)
    block = cuda_block.block_of(views, program.allocations, kernel)
    found: dict[str, float] = defaultdict(float)
    for view in views:
        instances = float(view.extents.prod(axis=0)[0]) if len(view.extents) else 1.0
        if view.statement.by_warp:
            each = cuda._multiply_adds(view)
            found["operations of tensor cores"] += instances * each
        for access in view.accesses:
            _add_access(found, view, access, instances, block)
    return found


def _add_access(found, view: StatementView, access, instances: float, block) -> None:
    own = access.access
    bytes_each = float(access.elements[-1][0]) * own.element_bytes
    if own.scope == "global":
        moved, _ = cuda._global_bytes(access, view, block)
        found["sectors of L2"] += float(moved[0]) / 32
        if not own.is_write:
            found["bytes read of global memory"] += instances * bytes_each
    elif own.scope.startswith("shared") and own.is_write:
        found["bytes written to shared memory"] += instances * bytes_each
    elif own.scope.startswith("shared") and view.statement.by_warp:
        found["bytes that warps load"] += instances * bytes_each
        ways = float(np.broadcast_to(block.conflicts[own.buffer], 1)[0])
        found["passes of warps' loads"] += instances * bytes_each / 128 * ways


def executed(counts: Counts) -> dict[str, float]:
    """The same, as counted."""
    by_warp = ("ldmatrix", "load_matrix_sync", "mschedx_mma_gather")
    loads = [
        one
        for one in counts.requests
        if one.shared and not one.write and any(name in one.line.text for name in by_warp)
    ]
    return {
        "operations of tensor cores": _tensor_flops(counts),
        "sectors of L2": counts.total("transfers", shared=False),
        "bytes read of global memory": counts.total("size_bytes", shared=False, write=False),
        "bytes written to shared memory": counts.total("size_bytes", shared=True, write=True),
        "bytes that warps load": sum(one.size_bytes for one in loads),
        "passes of warps' loads": sum(one.transfers for one in loads),
    }


def _tensor_flops(counts: Counts) -> int:
    """Operations of all multiplications, by the k at the end of their names."""
    total = 0
    for name, count in counts.instructions.items():
        prefix, _, k = name.rpartition("k")
        if prefix in ("mma.m16n8", "wmma.mma."):
            total += count * 2 * int(k) * (16 * 8 if prefix == "mma.m16n8" else 256)
    return total


def ratios(sketches: list[Sketch], target: Target, expected: Reference, configs: int) -> Ratios:
    """Model over emulator, per quantity that the emulator counts at all."""
    found: Ratios = defaultdict(list)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for sketch in sketches:
            for config in sketch.sample(max(1, configs // len(sketches)), rng):
                (schedule,) = sketch.schedules(config[None])
                done = check(
                    schedule.mod, target, expected, Path(folder), ExecutionOptions(count=True)
                )
                counts = done.execution.counts
                assert counts is not None
                model = predicted(sketch, config)
                for name, count in executed(counts).items():
                    if count:
                        found[name].append(model[name] / count)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configs", type=int, default=24, help="sampled configs a workload")
    parser.add_argument("--only", default=",".join(DEFAULT), help="workloads by commas")
    args = parser.parse_args()
    target = Target(TARGET)
    print("| workload | quantity | least | median | largest |\n|---|---|---|---|---|")
    for name in args.only.split(","):
        workload = WORKLOADS[name]
        expected = reference(workload.module(), np.random.default_rng(0))
        found = ratios(workload.sketches(target), target, expected, args.configs)
        for quantity, values in found.items():
            low, middle, high = np.quantile(values, [0, 0.5, 1])
            print(f"| {name} | {quantity} | {low:.2f} | {middle:.2f} | {high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
