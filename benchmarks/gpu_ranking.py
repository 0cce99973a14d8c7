"""How PSA ranks programs that were measured on a GPU; needs no GPU.

    python benchmarks/gpu_ranking.py [--device h100] [--form published]
    python benchmarks/gpu_ranking.py --collect gpu/nvidia-h100-80gb-hbm3-64 > trials.jsonl

Reads ``results/nvidia-<device>-trials.jsonl``, the trials of `gpu.py`'s table as it was measured: a
line a trial, with the workload, the shared memory a block could use, the tuner, the sketch, its
decisions and the latency. ``--collect`` writes such lines from the table's folders. For every run
it prints the rank correlation of predictions and latencies, how close to the run's best the best of
the first k predicted is, and the quotient of measured and predicted latency (median; ninth over
first decile).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import tvm
from gpu_table import WORKLOADS
from resuming import rows_of
from scipy.stats import spearmanr
from tvm import te
from tvm.s_tir.meta_schedule.database import JSONDatabase
from tvm.target import Target

from mschedx.cost.psa import FORMS, PSAModel
from mschedx.hardware import Hardware
from mschedx.latency import latency_of
from mschedx.space import Sketch, for_target, sketches
from mschedx.space.resolver import Resolver

RESULTS = Path(__file__).parent / "results"
DEVICES = ("h200", "h100")
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


def runs(device: str) -> dict[tuple[str, int, str], list[Trial]]:
    """Trials by (workload, shared memory in KiB, tuner)."""
    path = RESULTS / f"nvidia-{device}-trials.jsonl"

    def key(trial: Trial) -> tuple[str, int, str]:
        return str(trial["workload"]), int(trial["shared_kib"]), str(trial["tuner"])

    trials = sorted(rows_of(path), key=key)
    return {name: list(group) for name, group in groupby(trials, key=key)}


def opened(workload: str, shared_kib: int) -> list[Sketch]:
    """Generate and analyse the space that the trials of a run are of."""
    target = device_target(shared_kib)
    mod = tvm.IRModule({"main": te.create_prim_func(WORKLOADS[workload]())})
    return sketches(mod, target, for_target(target))


def collected(folder: Path, shared_kib: int) -> Iterator[Trial]:
    """Read the trials of a table's folders, one a workload and tuner; those that ran."""
    for run in sorted(path for path in folder.iterdir() if path.is_dir()):
        workload, _, tuner = run.name.partition("-")
        target = device_target(shared_kib)
        mod = tvm.IRModule({"main": te.create_prim_func(WORKLOADS[workload]())})
        resolver = Resolver.of_space(mod, target, for_target(target))
        records = JSONDatabase(work_dir=str(run)).get_all_tuning_records()
        resolved = resolver.resolve([record.trace for record in records])
        for number in np.unique(resolved.sketch[resolved.sketch >= 0]).tolist():
            sketch = resolver.sketches[number]
            for row, config in zip(*resolved.of(number), strict=True):
                seconds = latency_of(records[row].run_secs)
                if not math.isfinite(seconds):
                    continue
                yield {
                    "workload": workload,
                    "shared_kib": shared_kib,
                    "tuner": tuner,
                    "sketch": number,
                    "decisions": dict(zip(sketch.names, map(int, config), strict=True)),
                    "latency_us": round(seconds * 1e6, 3),
                }


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
    parser.add_argument("--device", choices=DEVICES, default=DEVICES[0])
    parser.add_argument("--form", choices=FORMS, default=FORMS[0])
    parser.add_argument("--collect", type=Path, help="print the trials of this folder's runs")
    parser.add_argument("--shared-kib", type=int, default=48, help="of --collect's runs")
    args = parser.parse_args()
    if args.collect:
        for trial in collected(args.collect, args.shared_kib):
            print(json.dumps(trial))
    else:
        compare(args.device, args.form)


def compare(device: str, form: str) -> None:
    """Print the table of predictions against measurements."""
    model = PSAModel(Hardware.from_device(device), form)
    print("| run | trials | rank correlation | " + " | ".join(f"first {k}" for k in FIRST), end="")
    print(" | measured over predicted | spread |")
    print("|---" * (5 + len(FIRST)) + "|")
    for (workload, kib, tuner), trials in runs(device).items():
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
