"""How long it takes to calibrate, to rank, to draft and to verify.

    python benchmarks/ranking_speed.py

- Drafts: programs a second that PSA scores, in one process and in as many as there are cores, of
  the sketch of a workload that has the most of them.
- A round: CPU and wall seconds of drafting and verifying one batch of `DraftVerify` after 64
  trials and two rounds, with drafts made afresh, and in the round after it, which takes those
  again.
- PAM: wall seconds for the scores of 10,000 programs, of the features that it reads too.
- Calibrating: wall seconds of `mschedx.calibrate` that measures, compiling its kernels included.
- Whole calls, in new processes, imports and all: ``mschedx rank`` from the shell to the printed
  list, and ``mschedx.tune(trials=0)`` to a compiled kernel.

Run it on a machine that does nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np
import tvm

from mschedx import compat, workloads
from mschedx.cost import Measured
from mschedx.cost.learned.pam import PAMModel
from mschedx.cost.psa import PSAModel
from mschedx.hardware import Hardware, host_target
from mschedx.search import DraftThenVerify, DraftVerifyConfig
from mschedx.search.history import History
from mschedx.search.points import SketchSet
from mschedx.search.request import Request
from mschedx.search.scoring import ArrayScorer
from mschedx.space import sketches
from mschedx.space.sketch import Sketch

PROGRAMS = 16384
SCORED_BY_PAM = 10_000
BATCH = 16
WORKLOADS = {
    "gemm 512": ("gemm", (512, 512, 512), "float32", "cpu"),
    "conv2d 56": ("conv2d", (1, 64, 56, 56, 64, 3, 1, 1), "float32", "cpu"),
    "gemm 1024 float16, tensor cores": ("gemm", (1024, 1024, 1024), "float16", "a100"),
}
CALLS = {
    "mschedx rank, gemm": "rank gemm --shape 512,512,512",
    "mschedx rank, conv2d": "rank conv2d --shape 1,64,56,56,64,3,1,1",
    "mschedx rank, tensor cores": "rank gemm --shape 1024,1024,1024 --dtype float16 "
    "--target nvidia/nvidia-a100",
}
TUNE = """
import tvm, mschedx
from mschedx import workloads
mod = tvm.IRModule({"main": workloads.make("gemm", (512, 512, 512))})
mschedx.tune(mod, trials=0).compile()
"""


@cache
def opened(name: str) -> list[Sketch]:
    """The sketches of a workload; once a process."""
    op, shape, dtype, device = WORKLOADS[name]
    target = host_target() if device == "cpu" else tvm.target.Target("nvidia/nvidia-a100")
    return sketches(workloads.make(op, shape, dtype), target)


def scored(name: str) -> float:
    """Programs a second of wall time that PSA scores in this process, drawn beforehand."""
    sketch = max(opened(name), key=lambda one: one.count())
    configs = sketch.sample(PROGRAMS, np.random.default_rng(0))
    model = PSAModel()
    model.latency_s(None, sketch, configs[:64])
    begin = time.perf_counter()
    model.latency_s(None, sketch, configs)
    return len(configs) / (time.perf_counter() - begin)


def scored_together(name: str) -> tuple[int, float]:
    """Processes, one for each core, and the programs a second that they score together."""
    cores = compat.available_cores()
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(opened_there, [name] * cores))
        return cores, sum(pool.map(scored, [name] * cores))


def scored_by_pam(name: str) -> float:
    """Wall seconds in which PAM, which has learnt from 64 programs, scores `SCORED_BY_PAM`."""
    sketch = max(opened(name), key=lambda one: one.count())
    rng = np.random.default_rng(0)
    configs = sketch.sample(SCORED_BY_PAM, rng)
    model = PAMModel()
    model.learn(sketch.task, [Measured(sketch, configs[:64], 1e-4 * (1.0 + rng.random(64)))])
    model.score(sketch.task, [(sketch, configs[:64])])
    begin = time.perf_counter()
    model.score(sketch.task, [(sketch, configs)])
    return time.perf_counter() - begin


def calibrated() -> float:
    """Wall seconds of measuring this machine's rates, remembered or not."""
    begin = time.perf_counter()
    Hardware.calibrate(again=True)
    return time.perf_counter() - begin


def rounds(name: str) -> list[tuple[float, float]]:
    """CPU and wall seconds of two rounds after 64 trials of latencies that somebody made up."""
    space, rng = SketchSet(opened(name)), np.random.default_rng(0)
    history = History.of(space)
    points = space.sample(64, rng).distinct()
    history.add(points, 1e-4 * (1.0 + rng.random(len(points))))
    scorer = ArrayScorer(PAMModel(), space)
    scorer.learn(history)
    search = DraftThenVerify(PSAModel(), DraftVerifyConfig())
    found = []
    for _ in range(2 * search.config.refresh):
        cpu, wall = time.process_time(), time.perf_counter()
        chosen = search.propose(Request(BATCH, space, history, scorer, rng)).take(np.arange(BATCH))
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
        history.add(chosen, 1e-4 * (1.0 + rng.random(len(chosen))))
    # The first ones analyse the programs, too.
    return found[-search.config.refresh :]


def called(command: list[str]) -> float:
    """Wall seconds of a new process."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ.copy())
    return time.perf_counter() - begin


def main() -> None:
    for name in WORKLOADS:
        alone = scored(name)
        cores, together = scored_together(name)
        print(f"{name}: {alone:,.0f} programs a second, {together:,.0f} in {cores} processes")
        for title, (cpu, wall) in zip(("drafts made", "drafts taken again"), rounds(name)):
            print(f"  a round, {title}: {cpu:.2f} CPU s, {wall:.2f} s")
        print(f"  PAM, {SCORED_BY_PAM:,} programs: {scored_by_pam(name):.2f} s")
    print(f"mschedx.calibrate: {calibrated():.1f} s")
    for name, arguments in CALLS.items():
        print(f"{name}: {called([sys.executable, '-m', 'mschedx', *arguments.split()]):.1f} s")
    print(f"mschedx.tune(trials=0), gemm: {called([sys.executable, '-c', TUNE]):.1f} s")


def opened_there(name: str) -> int:
    """Open the sketches in a worker, so that this is not timed."""
    return len(opened(name))


if __name__ == "__main__":
    main()
