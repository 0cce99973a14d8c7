"""Networks that are really measured: small ones in the suite, killed runs and all kinds as slow."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_networks import two

from mschedx import tune_model
from mschedx.models import CATALOGUE, make
from mschedx.networks import Origin
from mschedx.record.contents import RECORDS
from mschedx.record.lines import read_lines

ROOT = Path(__file__).parents[2]
CODE = """
import sys
from mschedx import tune_model
from mschedx.models import make
tune_model(*make("resnet18", small=True), trials_per_task=8, work_dir=sys.argv[1], progress=False)
"""


def whole(work_dir):
    """How many records of a folder are whole."""
    file = work_dir / RECORDS
    return sum(line.content is not None for line in read_lines(file)) if file.exists() else 0


def test_a_network_is_tuned_compiled_and_served_from_c(tmp_path):
    model, inputs = two(width=32)
    result = tune_model(model, inputs, trials_per_task=2, work_dir=tmp_path / "w", progress=False)
    assert {choice.origin for choice in result.tasks} == {Origin.TUNED}
    assert result.verified
    library = result.export(tmp_path / "network.so")
    with torch.no_grad():
        expected = model(*inputs)
        np.testing.assert_allclose(result.compile()(*inputs), expected, rtol=1e-5, atol=1e-5)
        given = (torch.arange(3 * 32) % 7).float().reshape(3, 32) / 7
        expected = model(given).numpy()
    script = (
        "import numpy, os, serve_network, tvm\n"
        "os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])\n"
        f"given = numpy.array({given.tolist()}, 'float32')\n"
        f"numpy.savetxt({str(tmp_path / 'found')!r}, serve_network.run({str(library)!r}, given))\n"
        "threads = tvm.get_global_func('runtime.NumThreads')()\n"
        "assert threads == 1, threads  # as many as the process may use\n"
    )
    bare = {name: value for name, value in os.environ.items() if not name.startswith("TVM_")}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT / "examples", env=bare)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "found"), expected, rtol=1e-4, atol=1e-5)
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    example, program = ROOT / "examples" / "serve_network", tmp_path / "serve"
    flags = subprocess.run(
        [sys.executable, f"{example}.py", "--flags"], check=True, capture_output=True, text=True
    ).stdout.split()
    compiler = ["g++", "-std=c++17", f"{example}.cc", "-o", str(program), *flags]
    subprocess.run(compiler, check=True)
    command = [str(program), str(library), "3", "32"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = np.array([float(line) for line in printed.split()]).reshape(3, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_kind_of_network_is_tuned_and_right(name):
    model, inputs = make(name, small=True)
    result = tune_model(model, inputs, trials_per_task=2, progress=False)
    assert result.verified, result.notes
    assert all(choice.origin is Origin.TUNED for choice in result.tasks), result.notes


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost_and_nothing_measured_twice(tmp_path):
    command, kept, killed = [sys.executable, "-c", CODE, str(tmp_path)], 0, 0
    rng = np.random.default_rng(0)
    for _ in range(4):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None and whole(tmp_path) == kept:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 3))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        found = whole(tmp_path)
        assert found >= kept
        kept = found
    assert killed > 0, "every run ended before it was killed"
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    records = [line.content for line in read_lines(tmp_path / RECORDS)]
    assert len(records) >= kept > 0
    assert len({json.dumps([number, record[0]]) for number, record in records}) == len(records)
