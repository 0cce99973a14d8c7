"""How PSA ranks programs that were measured on a GPU; needs no GPU.

    python benchmarks/gpu_ranking.py [--form published]

Reads ``results/nvidia-h200-trials.jsonl``, the trials of `gpu.py`'s table as it was measured: a
line a trial, with the workload, the shared memory a block could use, the tuner, the sketch, its
decisions and the latency. For every run it prints the rank correlation of predictions and
latencies, how close to the run's best the best of the first k predicted is, and the quotient of
measured and predicted latency (median; ninth over first decile).
"""

from __future__ import annotations

import argparse
import json
from itertools import groupby
from pathlib import Path

import numpy as np
import tvm
from gpu_table import WORKLOADS
from scipy.stats import spearmanr
from tvm import te
from tvm.target import Target

from mschedx.cost.psa import FORMS, PSAModel
from mschedx.hardware import Hardware
from mschedx.space import Sketch, for_target, sketches

TRIALS = Path(__file__).parent / "results" / "nvidia-h200-trials.jsonl"
DEVICE = "h200"
FIRST = (1, 4, 8)

Trial = dict[str, object]


def device_target(shared_kib: int) -> Target:
    """Describe the device as TVM does, but for the shared memory of a block."""
    return Target(
        {
            "kind": "cuda",
            "arch": "sm_90",
            "max_shared_memory_per_block": shared_kib * 1024,
            "max_threads_per_block": 1024,
            "thread_warp_size": 32,
        }
    )


def runs(path: Path = TRIALS) -> dict[tuple[str, int, str], list[Trial]]:
    """Trials by (workload, shared memory in KiB, tuner)."""

    def key(trial: Trial) -> tuple[str, int, str]:
        return str(trial["workload"]), int(trial["shared_kib"]), str(trial["tuner"])

    trials = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: list(group) for name, group in groupby(sorted(trials, key=key), key=key)}


def opened(workload: str, shared_kib: int) -> list[Sketch]:
    """Generate and analyse the space that the trials of a run are of."""
    target = device_target(shared_kib)
    mod = tvm.IRModule({"main": te.create_prim_func(WORKLOADS[workload]())})
    return sketches(mod, target, for_target(target))


def predictions(model: PSAModel, found: list[Sketch], trials: list[Trial]) -> np.ndarray:
    """Predicted seconds of trials, [n]."""
    seconds = np.empty(len(trials))
    for number, sketch in enumerate(found):
        rows = [i for i, trial in enumerate(trials) if trial["sketch"] == number]
        if rows:
            configs = [[trials[i]["decisions"][name] for name in sketch.names] for i in rows]
            seconds[rows] = model.latency_s(None, sketch, np.array(configs, dtype=np.int64))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--form", choices=FORMS, default=FORMS[0])
    args = parser.parse_args()
    model = PSAModel(Hardware.from_device(DEVICE), args.form)
    print("| run | trials | rank correlation | " + " | ".join(f"first {k}" for k in FIRST), end="")
    print(" | measured over predicted | spread |")
    print("|---" * (5 + len(FIRST)) + "|")
    for (workload, kib, tuner), trials in runs().items():
        predicted = predictions(model, opened(workload, kib), trials)
        measured = np.array([trial["latency_us"] for trial in trials]) * 1e-6
        order = np.argsort(predicted)
        shares = [measured.min() / measured[order[:k]].min() for k in FIRST]
        low, middle, high = np.quantile(measured / predicted, [0.1, 0.5, 0.9])
        cells = [f"{workload}, {kib} KiB, {tuner}", str(len(trials))]
        cells += [f"{spearmanr(predicted, measured)[0]:.2f}", *(f"{share:.2f}" for share in shares)]
        print("| " + " | ".join([*cells, f"{middle:.2f}", f"{high / low:.1f}"]) + " |")


if __name__ == "__main__":
    main()
