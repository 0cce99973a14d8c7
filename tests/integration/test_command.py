import json
import os
import pty
import runpy
import select
import signal
import subprocess
import sys
import time

import numpy as np
import tvm

from mschedx.inputs import normalize_mod
from mschedx.record.trials import read_run
from mschedx.workloads import make

COMMAND = [sys.executable, "-m", "mschedx", "tune", "gemm", "--shape", "96,96,96"]


def test_tune_counts_trials_and_saves_a_kernel_that_computes(tmp_path):
    run = subprocess.run(
        [*COMMAND, "--trials", "8", "--work-dir", str(tmp_path), "--no-compare"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "output checked" in run.stdout
    assert "8/8 trials" in run.stderr

    (file,) = (tmp_path / "best").glob("main-*/schedule.py")
    scope = runpy.run_path(str(file))
    schedule = tvm.s_tir.Schedule(normalize_mod(make("gemm", (96, 96, 96))))
    scope["apply"](schedule)
    a, b = np.random.default_rng(0).random((2, 96, 96), dtype=np.float32)
    c = tvm.runtime.tensor(np.zeros((96, 96), "float32"))
    kernel = tvm.compile(schedule.mod, target=tvm.target.Target(scope["TARGET"]))
    kernel["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), c)
    np.testing.assert_allclose(c.numpy(), a @ b, rtol=1e-4)


def test_ctrl_c_on_a_terminal_keeps_the_best_and_the_next_call_goes_on(tmp_path):
    args = [*COMMAND, "--trials", "4000", "--work-dir", str(tmp_path), "--no-compare"]
    main, other = pty.openpty()
    process = subprocess.Popen(args, stdin=other, stdout=other, stderr=other)
    os.close(other)

    def read(wait_s):
        try:
            return os.read(main, 65536) if select.select([main], [], [], wait_s)[0] else b""
        except OSError:  # how Linux says that the other side has closed
            return b""

    shown = b""
    deadline = time.monotonic() + 120
    while b"16/4000 trials" not in shown and time.monotonic() < deadline:
        shown += read(1)
    assert b"GFLOP/s" in shown
    assert b"left" in shown
    process.send_signal(signal.SIGINT)
    while process.poll() is None and time.monotonic() < deadline:
        shown += read(0.2)
    assert process.wait(60) == 130
    measured = len(read_run(tmp_path).trials)
    assert 16 <= measured < 4000
    (file,) = (tmp_path / "best").glob("main-*/trace.json")
    assert json.loads(file.read_text())

    again = subprocess.run(
        [*COMMAND, "--trials", "16", "--work-dir", str(tmp_path), "--no-compare"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "0 measured now" in again.stdout
