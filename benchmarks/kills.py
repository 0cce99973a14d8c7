"""Runs killed at random moments and continued; work_dirs spoilt and reopened.

    python benchmarks/kills.py                        # 12 kills, 72 spoilings
    python benchmarks/kills.py --kills 2 --rounds 10  # 360 spoilings

A run is a process group that tunes with this machine's builder and runner and is killed (SIGKILL)
after a random time; the next one goes on in its folder. A spoiling changes one of the four files of
a finished run in one of nine ways (``tests/support/spoilings.py``), and each is reopened. It counts
what must not be: an exception, a record lost whose own line was not spoilt, a record or a schedule
that comes back with a latency that is not its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from mschedx.record.trials import read_run

_RUN = """
import sys
from mschedx.tuning import tune
from mschedx.workloads import make
gemm = make("gemm", (64, 64, 64))
tune(gemm, trials=5000, trials_per_round=8, work_dir=sys.argv[1], verify=False)
"""


def killed(folder: Path, kills: int, rng: np.random.Generator) -> list[str]:
    """Kill runs in one folder one after the other; what was lost or measured twice."""
    faults, shown = [], []
    for number in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(folder)], stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(float(rng.uniform(2.0, 12.0)))
        if process.poll() is not None:
            faults.append(f"run {number} ended by itself with {process.returncode}")
            continue
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        found = _records(folder)
        if found[: len(shown)] != shown:
            faults.append(f"after kill {number} records are not what they were")
        if len({trace for trace, _ in found}) < len(found):
            faults.append(f"after kill {number} a candidate was measured twice")
        shown = found
        print(f"kill {number}: {len(shown)} records", flush=True)
    return faults


def _records(folder: Path) -> list[tuple[str, float | None]]:
    try:
        run = read_run(folder)
    except FileNotFoundError:  # killed before the first round
        return []
    latencies = {trial.record: trial.latency_s for trial in run.trials}
    return [(json.dumps(r[0]), latencies[n]) for n, r in run.records.items()]


def spoilt(folder: Path, rounds: int, seed: int) -> Counter[str]:
    """Spoil every file in every way, ``rounds`` times; faults by file and way."""
    from spoilings import FILES, KINDS, make_base, reopened

    base, faults = make_base(folder), Counter[str]()
    for number in range(seed, seed + rounds):
        for name in FILES:
            for kind in KINDS:
                for fault in reopened(base, folder, name, kind, number):
                    print(f"{name} {kind} {number}: {fault}", flush=True)
                    faults[f"{name} {kind}"] += 1
    print(f"{rounds * len(FILES) * len(KINDS)} spoilings, {sum(faults.values())} faults")
    return faults


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--kills", type=int, default=12)
    made.add_argument("--rounds", type=int, default=2, help="of 36 spoilings each")
    made.add_argument("--seed", type=int, default=0)
    arguments = made.parse_args()
    logging.getLogger("tvm.s_tir.meta_schedule").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        spoilings = spoilt(Path(folder), arguments.rounds, arguments.seed)
        rng = np.random.default_rng(arguments.seed)
        faults = killed(Path(folder) / "killed", arguments.kills, rng)
    print("\n".join([*faults, f"{arguments.kills} kills, {len(faults)} faults"]))
    return int(bool(faults or spoilings))


if __name__ == "__main__":
    sys.exit(main())
