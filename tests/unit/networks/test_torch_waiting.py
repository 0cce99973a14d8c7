"""Graphs of several processes that tune into one folder wait for one another."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from captured_graphs import OPTIONS, same
from tiny_networks import two

from mschedx.networks import torch_artefacts
from mschedx.networks.torch_backend import backend
from mschedx.record.contents import TRIALS
from mschedx.record.lines import read_lines
from mschedx.record.lock import locked, wait_until_free

ONE_OF_SEVERAL = """
import sys
import torch
from tiny_networks import quick, two
from mschedx.networks import torch_backend

real = torch_backend.tune_model
torch_backend.tune_model = lambda *given, **options: real(*given, **{**quick(), **options})
model, inputs = two()
compiled = torch.compile(
    model, backend=torch_backend.backend, options={"trials_per_task": 2, "work_dir": sys.argv[1]}
)
with torch.no_grad():
    compiled(*inputs)
"""


def holding(folder, held, release):
    with locked(folder, "tuned into", "wait for it"):
        held.set()
        release.wait(60)


@pytest.fixture
def held(tmp_path):
    """A folder that another process tunes into, and how to have it end."""
    context = multiprocessing.get_context("fork")
    begun, release = context.Event(), context.Event()
    owner = context.Process(target=holding, args=(tmp_path, begun, release))
    owner.start()
    assert begun.wait(60)
    yield tmp_path, release.set
    release.set()
    owner.join()


def test_a_process_waits_for_a_folder_that_another_tunes_into(held):
    folder, release = held
    support = str(Path(__file__).parents[2] / "support")
    path = os.pathsep.join((support, *filter(None, [os.environ.get("PYTHONPATH")])))
    process = subprocess.Popen(
        [sys.executable, "-c", ONE_OF_SEVERAL, str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with process:
        said = ""
        while "a graph waits" not in said and (line := process.stderr.readline()):
            said += line
        release()
        said += process.stderr.read()
    assert process.returncode == 0, said
    assert "is being tuned into by process" in said
    assert "left to torch" not in said
    assert len(read_lines(folder / TRIALS)) > 0


def test_a_folder_that_stays_in_use_is_tried_again_later(held, invented, monkeypatch):
    folder, release = held
    clock = [0.0]
    monkeypatch.setattr(torch_artefacts, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    model, inputs = two()
    options = {**OPTIONS, "work_dir": str(folder), "timeout_s": 0.5}
    compiled = torch.compile(model, backend=backend, options=options)
    with pytest.warns(UserWarning, match="is left to torch for now: WorkDirInUse"):
        same(compiled, model, *inputs)
    release()
    assert wait_until_free(folder, 60)
    tried = len(invented)
    same(compiled, model, *inputs)
    assert len(invented) == tried, "not at every call"
    clock[0] = 61.0
    same(compiled, model, *inputs)
    same(compiled, model, *inputs)
    assert len(invented) == tried + 1
