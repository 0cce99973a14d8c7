"""Random small functions through the whole package, every candidate against NumPy.

    python benchmarks/fuzz.py --functions 100 --seed 0 --budget 600 --out fuzz.jsonl
    python benchmarks/fuzz.py --show 17               # the function of seed 17, and what is wrong
    python benchmarks/fuzz.py --shrink 17             # its smallest part that fails alike

Each function is opened on this machine's target (``mschedx.space.sketches``), a few sampled configs
of every sketch are materialised, built and run in a worker process and compared with an
interpreter in NumPy; a share is tuned with two trials. A function that ends its process or
takes longer than three minutes is a crash. ``--out`` is continued where it ends.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from resuming import Rows, options_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

_LIMIT_S = 180.0


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--functions", type=int, default=100, help="how many in all")
    made.add_argument("--seed", type=int, default=0, help="of the first; the next has the next")
    made.add_argument("--budget", type=float, default=600.0, help="seconds")
    made.add_argument("--jobs", type=int, default=1, help="functions at a time")
    made.add_argument("--configs", type=int, default=2, help="of every sketch")
    made.add_argument("--tune", type=float, default=0.15, help="share that is tuned too")
    made.add_argument("--largest", type=int, default=64, help="extent of an axis")
    made.add_argument("--out", type=Path, default=Path("fuzz.jsonl"))
    made.add_argument("--show", type=int, help="only this seed, in this process")
    made.add_argument("--shrink", type=int, help="only this seed, made as small as it fails")
    made.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = made.parse_args()
    quiet()
    if arguments.worker:
        work(arguments)
    elif arguments.show is not None or arguments.shrink is not None:
        show(arguments)
    else:
        rows = run(arguments)
        print(table(rows))


def quiet() -> None:
    """Leave the terminal to the results."""
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")


def checked(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Check the function of a seed."""
    from checked_function import check
    from random_functions import random_function

    from mschedx.hardware import host_target

    begin = time.perf_counter()
    function = random_function(seed, arguments.largest)
    tune = seed % 100 < 100 * arguments.tune
    report = check(function, seed, host_target(), configs=arguments.configs, tune=tune)
    return {"seed": seed, "seconds": round(time.perf_counter() - begin, 2), **report.as_json()}


def work(arguments: argparse.Namespace) -> None:
    """Check the seeds that come in, a line each."""
    for line in sys.stdin:
        print(json.dumps(checked(int(line), arguments)), flush=True)


class Worker:
    """A process that checks functions, started anew when one ends it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def check(self, seed: int) -> dict[str, Any]:
        """The report of a seed; a crash where the process ends or hangs."""
        import threading

        begin = time.perf_counter()
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, *sys.argv, "--worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(_LIMIT_S, process.kill)
        watch.start()
        try:
            process.stdin.write(f"{seed}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            while line and not line.startswith("{"):
                line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watch.cancel()
        if line:
            return json.loads(line)
        code = process.wait()
        seconds = round(time.perf_counter() - begin, 2)
        how = "took too long" if seconds >= _LIMIT_S else f"ended its process ({code})"
        problem = {"kind": "crash", "detail": how}
        return {"seed": seed, "seconds": seconds, "problems": [problem]}

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Check what the file does not have yet, within the budget."""
    import queue
    import threading

    chosen = options_of(arguments, "configs", "tune", "largest")
    kept = Rows(arguments.out, chosen)
    done = {row["seed"]: row for row in kept.rows}
    wanted = range(arguments.seed, arguments.seed + arguments.functions)
    seeds: queue.SimpleQueue[int] = queue.SimpleQueue()
    for seed in wanted:
        if seed not in done:
            seeds.put(seed)
    deadline, lock = time.monotonic() + arguments.budget, threading.Lock()

    def serve() -> None:
        worker = Worker()
        while time.monotonic() < deadline:
            try:
                seed = seeds.get_nowait()
            except queue.Empty:
                break
            row = worker.check(seed)
            with lock:
                done[seed] = row
                kept.append(row)
                for problem in row["problems"]:
                    if problem["kind"] != "refused":
                        print(f"{seed}  {problem['kind']}: {problem['detail'][:200]}", flush=True)
        worker.close()

    threads = [threading.Thread(target=serve) for _ in range(arguments.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [done[seed] for seed in wanted if seed in done]


def table(rows: list[dict[str, Any]]) -> str:
    """Counts of a run."""
    kinds = Counter(kind for row in rows for kind in {p["kind"] for p in row["problems"]})
    sums = {key: sum(row.get(key, 0) for row in rows) for key in ("sketches", "sampled",
            "materialised", "compared", "tuned")}  # fmt: skip
    first = sorted(row["first_s"] for row in rows if row.get("first_s") is not None)
    lines = [f"functions        {len(rows)}", *(f"{k:<16} {v}" for k, v in sums.items())]
    lines.append("functions with")
    names = ("crash", "wrong", "failed", "allowed", "silent", "refused", "unscheduled")
    lines += [f"  {kind:<14} {kinds[kind]}" for kind in names]
    if first:
        ninety = first[int(0.9 * (len(first) - 1))]
        lines.append(
            f"seconds to the first candidate: median {statistics.median(first):.2f}, "
            f"nine in ten {ninety:.2f}, most {first[-1]:.2f}"
        )
    return "\n".join(lines)


def show(arguments: argparse.Namespace) -> None:
    """Print the function of a seed, or its smallest failing part, as a program to run."""
    from checked_function import check
    from described_functions import prim_func
    from random_functions import random_function
    from shrink import shrunk

    from mschedx.hardware import host_target

    seed = arguments.show if arguments.show is not None else arguments.shrink
    tune = seed % 100 < 100 * arguments.tune

    def kinds(function: Any) -> set[str]:
        report = check(function, seed, host_target(), configs=arguments.configs, tune=tune)
        return {problem.kind for problem in report.problems} - {"refused"}

    function = random_function(seed, arguments.largest)
    report = check(function, seed, host_target(), configs=arguments.configs, tune=tune)
    if arguments.shrink is not None:
        failing = {problem.kind for problem in report.problems} - {"refused"}
        if not failing:
            sys.exit(f"seed {seed} does not fail")
        for largest in (4, 8, 16, 32):
            smaller = random_function(seed, min(largest, arguments.largest))
            if kinds(smaller) & failing:
                function = smaller
                break
        function = shrunk(function, lambda smaller: bool(kinds(smaller) & failing))
        report = check(function, seed, host_target(), configs=arguments.configs, tune=tune)
    print(SNIPPET.format(script=prim_func(function).script().rstrip(), function=function))
    for problem in report.problems:
        print(f"# {problem.kind}: {problem.detail}")


SNIPPET = """\
import numpy as np
from tvm.script import tirx as T

import mschedx
from mschedx.hardware import host_target

# {function}

{script}


for sketch in mschedx.space.sketches(main, host_target()):
    for config in sketch.sample(2, np.random.default_rng(0)):
        print(mschedx.measure.verify(sketch.schedule(config), main, host_target()))
"""


if __name__ == "__main__":
    main()
