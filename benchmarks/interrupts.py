"""Ctrl-C at random moments: how soon a run ends, how, and what it leaves.

    python benchmarks/interrupts.py --moments 8       # of each of four kinds of runs

Runs of `mschedx tune`, of a drafted search, of one along gradients and of a small network get one
SIGINT, as from a terminal that is not theirs alone. It counts what must not be: an end later than
three seconds, another status than 130, a traceback, a process that is left, a folder with a line
that cannot be used, a best that is not written out although something was measured.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np

_LIMIT_S = 3.0
_MARK = "MSCHEDX_INTERRUPTED_RUN"

_SCRIPT = """
import sys
try:
    import mschedx
    from mschedx import cost, search, workloads
    strategy, model = {parts}
    gemm = workloads.make("gemm", (128, 128, 128))
    result = mschedx.tune(
        gemm, trials=4000, work_dir=sys.argv[1], strategy=strategy, cost_model=model
    )
    result.save()
except (KeyboardInterrupt, ImportError):  # NumPy and others make an ImportError of it
    sys.exit(130)
sys.exit(130 if result.interrupted else 1)
"""

_NETWORK = """
def make():
    from mschedx.models.catalogue import make
    return make("mobilenet_v2", small=True)
"""

_COMMAND = [sys.executable, "-m", "mschedx"]
_DRAFTED = _SCRIPT.format(parts="search.DraftVerify(), cost.PAM()")


def kinds(folder: Path) -> dict[str, list[str]]:
    """The commands; the folder of a run comes last."""
    network = folder / "network.py"
    network.write_text(_NETWORK)
    command = ["--trials", "4000", "--no-compare", "--work-dir"]
    model = ["tune-model", f"{network}:make", "--trials-per-task", "64", "--work-dir"]
    gemm = [*_COMMAND, "tune", "gemm", "--shape", "128,128,128"]
    return {
        "tune": [*gemm, *command],
        "drafted": [sys.executable, "-c", _DRAFTED],
        "gradient": [*gemm, "--strategy", "gradient", *command],
        "network": [*_COMMAND, *model],
    }


def interrupted(command: list[str], folder: Path, after_s: float) -> tuple[float, int, list[str]]:
    """Interrupt a run; the seconds it took to end, the trials it left, and its faults."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*command, str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=said, env={**os.environ, _MARK: mark}, start_new_session=True,
        )  # fmt: skip
        time.sleep(after_s)
        begin = time.perf_counter()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        took_s = time.perf_counter() - begin
        said.seek(0)
        text = said.read()
    # Before the command is imported the signal itself ends it.
    expected = process.returncode in (130, -signal.SIGINT)
    faults = [] if expected else [f"ended with {process.returncode}"]
    faults += [f"took {took_s:.1f} s"] if took_s > _LIMIT_S else []
    faults += [f"traceback:\n{text[-3000:]}"] if "Traceback" in text else []
    if left := _left(mark):
        time.sleep(1.0)
        faults += [f"left {pid}" for pid in sorted({*left} & {*_left(mark)})]
    trials, spoilt = _kept(folder, best="tune-model" not in command)
    return took_s, trials, faults + spoilt


def _left(mark: str) -> list[int]:
    """Processes of a run that are still there."""
    wanted, found = f"{_MARK}={mark}".encode(), []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:  # gone meanwhile, or another user's
            continue
    return found


def _kept(folder: Path, *, best: bool) -> tuple[int, list[str]]:
    """How many trials a folder holds, and what is wrong with it; whether it must have a best."""
    from mschedx.record.contents import read_contents

    contents = read_contents(folder)
    faults = [f"{name}: {why}" for name, why in contents.left_out.items()]
    trials = [e for e in contents.journal if e["kind"] == "trial"]
    ran = any(e.get("latency_s") for e in trials)
    if best and ran and not list(folder.glob("best/*/trace.json")):
        faults.append("no best was written")
    return len(trials), faults


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--moments", type=int, default=8)
    made.add_argument("--latest", type=float, default=25.0, help="seconds")
    made.add_argument("--only", default="", help="kinds of runs, comma-separated")
    made.add_argument("--seed", type=int, default=0)
    arguments = made.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored in the background
    rng, wrong = np.random.default_rng(arguments.seed), 0
    with tempfile.TemporaryDirectory(prefix="mschedx-") as folder:
        for name, command in kinds(Path(folder)).items():
            if arguments.only and name not in arguments.only.split(","):
                continue
            for number in range(arguments.moments):
                after_s = float(rng.uniform(0.0, arguments.latest))
                run = Path(folder) / f"{name}-{number}"
                took_s, trials, faults = interrupted(command, run, after_s)
                wrong += len(faults)
                print(f"{name:<9} {after_s:5.1f} s: {took_s:4.1f} s, {trials} trials", flush=True)
                for fault in faults:
                    print(f"  {fault}", flush=True)
    print(f"{wrong} faults")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
