"""What each part of PSA is worth: recorded trials ranked with one part left out at a time.

    python benchmarks/psa_parts.py DATASET [DATASET …]

A part is left out by making what it counts free: caches that deliver at once, additions that need
no time until the next, threads that start for nothing. Nothing is measured; the data sets are what
``mschedx dataset`` and ``benchmarks/pretraining.py collect`` write. Shapes on which PSA's constants
were fitted flatter the whole, and so say too much for its parts.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pretraining import KS, best_of_first

from mschedx.bench.opened_tasks import OpenedTask, open_task
from mschedx.cost.analytical.costs import Costs
from mschedx.cost.analytical.cpu import cpu_costs
from mschedx.cost.analytical.machine import CpuMachine
from mschedx.cost.analytical.view import ProgramAt
from mschedx.cost.learned.metrics import rank_correlation
from mschedx.cost.psa import PSAModel
from mschedx.hardware import Hardware
from mschedx.record.dataset import read_datasets
from mschedx.space.sketch import Sketch

FREE = 1e9
"""A rate at which nothing waits."""

DROPPED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "chains of additions": {"fma_latency": 0.0},
    "loads": {"loads_per_cycle": FREE, "wide_loads_per_cycle": FREE, "gather_cycles": 0.0},
    "stores": {"stores_per_cycle": FREE},
    "the front end": {"issue_width": FREE},
    "loops' counting and jumping": {"loop_cycles": 0.0, "loop_ops": 0.0},
    "spilled registers": {"spill_cycles": 0.0},
    "L2": {"l2_bytes_per_cycle": FREE},
    "L3": {"l3_bytes_per_cycle": FREE},
    "memory": {"dram_bytes_per_cycle": FREE},
    "starts of runs in all three": {"run_cycles": (0.0, 0.0, 0.0)},
    "translation of addresses": {"tlb_cycles": 0.0},
    "starting of threads": {"fork_s": 0.0},
}
DROPPED["L2, L3 and memory"] = {
    **DROPPED["L2"],
    **DROPPED["L3"],
    **DROPPED["memory"],
    **DROPPED["starts of runs in all three"],
}


class Without(PSAModel):
    """PSA of a CPU with other rates."""

    def __init__(self, rates: dict[str, Any]) -> None:
        super().__init__()
        self.rates = rates

    def _costs(self, sketch: Sketch, program: ProgramAt) -> Costs:
        machine = CpuMachine.of(Hardware.from_target(sketch.design.target))
        return cpu_costs(program, replace(machine, **self.rates))


def quality(task: OpenedTask, model: PSAModel) -> list[float]:
    """Best of the first k for every k, Spearman's coefficient, and ln(measured / predicted)."""
    ran = np.isfinite(task.latency_s)
    seconds = np.where(ran, task.latency_s, 10 * task.latency_s[ran].max())
    predicted = np.concatenate(
        [model.latency_s(None, one.sketch, one.configs) for one in task.measured]
    )
    off = np.log(seconds[ran] / predicted[ran])
    correlation = rank_correlation(seconds, -predicted)
    return [*best_of_first(-predicted, seconds), correlation, float(np.median(off))]


def row(name: str, tasks: Sequence[OpenedTask], rates: dict[str, Any]) -> str:
    """What is left of PSA on all tasks."""
    table = np.array([quality(task, Without(rates)) for task in tasks])
    shares = " ".join(f"{x:.3f}" for x in np.exp(np.log(table[:, : len(KS)]).mean(axis=0)))
    tenth = np.percentile(table[:, 0], 10)
    spread = float(np.std(table[:, -1]))
    return (
        f"{name:30} {shares}; {tenth:.2f}; {np.nanmedian(table[:, -2]):.3f}; "
        f"x {math.exp(np.median(table[:, -1])):.2f}, spread {math.exp(spread):.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+")
    arguments = parser.parse_args()
    tasks = [open_task(trials) for trials in read_datasets(arguments.datasets, print)]
    tasks = [task for task in tasks if task.ran >= 2]
    print(f"{len(tasks)} tasks, {sum(task.ran for task in tasks)} trials that ran")
    print(
        f"best of the first {KS} ranked of a task's trials, geometric mean; 10th percentile at 1; "
        "Spearman, median; measured over predicted, median of tasks, and its spread over them"
    )
    for name, rates in DROPPED.items():
        print(row(name, tasks, rates), flush=True)


if __name__ == "__main__":
    main()
