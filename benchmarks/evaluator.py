"""How long a sketch's evaluator takes to make and to run, exactly and relaxed.

    python benchmarks/evaluator.py

For a GEMM, a convolution and an f16 product on tensor cores: all quantities and all expressions of
the statements, 10,000 configs at once. Median of ``--repeats`` runs; nothing else should run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import tvm

from mschedx import workloads
from mschedx.space import sketches
from mschedx.space.algebra.tape import Tape
from mschedx.space.statements import expressions

CPU = {"kind": "llvm", "mcpu": "znver4", "num-cores": 2}
CASES = {
    "gemm": ("gemm", (1024, 1024, 1024), "float32", CPU),
    "conv2d": ("conv2d", (1, 128, 28, 28, 128, 3, 1, 1), "float32", CPU),
    "tensor cores": ("gemm", (1024, 1024, 1024), "float16", "nvidia/nvidia-a100"),
}


def median_s(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--configs", type=int, default=10_000)
    options.add_argument("--repeats", type=int, default=5)
    arguments = options.parse_args()
    print(f"torch threads: {torch.get_num_threads()}")
    for name, (op, shape, dtype, target) in CASES.items():
        found = sketches(workloads.make(op, shape, dtype), tvm.target.Target(target))
        for number, sketch in enumerate(found):
            formulas = [*sketch.quantities.values(), *expressions(sketch.statements).values()]
            configs = sketch.sample(arguments.configs, np.random.default_rng(0))
            made = median_s(lambda e=formulas, s=sketch: Tape(e, s.design.lattice), 3)
            tape = Tape(formulas, sketch.design.lattice)
            exact = median_s(lambda t=tape, c=configs: t(c), arguments.repeats)
            x = torch.tensor(configs, dtype=torch.float32).log2()

            def descend(t: Tape = tape, start: torch.Tensor = x) -> None:
                moved = (start + 0.1).requires_grad_()
                (1 + t.relaxed(moved.exp2()).clamp(min=0)).log().sum().backward()

            relaxed = median_s(descend, arguments.repeats)
            print(
                f"{name} {number}: {len(formulas)} expressions, {len(tape.steps)} steps; "
                f"made in {made:.3f} s, exact {exact:.3f} s, "
                f"relaxed forward and backward {relaxed:.3f} s"
            )


if __name__ == "__main__":
    main()
