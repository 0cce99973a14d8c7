"""A run that is killed, at any moment, is continued by the next."""

import json
import signal
import subprocess
import sys
import time

import pytest

from mschedx.hardware import host_target
from mschedx.record.contents import RECORDS
from mschedx.record.lines import read_lines
from mschedx.record.trials import read_run
from mschedx.tuning import tune
from mschedx.workloads import make

SHAPE = (64, 64, 64)
CODE = f"""
from mschedx.tuning import tune
from mschedx.workloads import make
import sys
tune(make("gemm", {SHAPE}), trials=5000, trials_per_round=8, work_dir=sys.argv[1], verify=False)
"""


@pytest.mark.parametrize("records", [8, 40])
def test_killed_run_resumes_without_measuring_again(tmp_path, records):
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    file = tmp_path / RECORDS
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists() and file.read_bytes().count(b"\n") >= records:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = read_run(tmp_path).trials
    assert len(before) >= records

    wanted = len(before) + 8
    result = tune(
        make("gemm", SHAPE), host_target(), trials=wanted, work_dir=tmp_path, progress=False
    )
    assert result.measured == 8
    assert len(result.history) == wanted
    assert [t.latency_s for t in result.history[: len(before)]] == [t.latency_s for t in before]
    assert result.verified
    traces = {json.dumps(line.content[1][0]) for line in read_lines(file)}
    assert len(traces) == wanted, "no candidate is measured twice"
