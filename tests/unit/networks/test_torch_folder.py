"""The folder of captured graphs that were given none."""

import os
import subprocess
import sys

import pytest
import torch
from captured_graphs import same
from stand_ins import Runner
from tiny_networks import two

from mschedx.networks import torch_backend
from mschedx.networks.torch_backend import backend
from mschedx.networks.torch_folder import own_folder

OPTIONS = {"trials_per_task": 2}


@pytest.fixture
def measured(invented, monkeypatch):
    """Trials that each artefact took."""
    real, counts = torch_backend.tune_model, []

    def tune(model, inputs, **options):
        result = real(model, inputs, **options)
        counts.append(result.measured)
        return result

    monkeypatch.setattr(torch_backend, "tune_model", tune)
    return counts


def test_an_artefact_for_other_weights_is_made_of_the_same_records(measured):
    model, inputs = two()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    same(compiled, model, *inputs)
    with torch.no_grad():
        model.first.weight.add_(1)
    same(compiled, model, *inputs)
    assert measured[0] > 0
    assert measured[1:] == [0]


def test_equal_graphs_are_measured_once(measured):
    for seed in range(2):
        model, inputs = two(seed=seed)
        torch._dynamo.reset()
        same(torch.compile(model, backend=backend, options=OPTIONS), model, *inputs)
    assert measured[0] > 0
    assert measured[1:] == [0]


def test_what_is_searched_or_measured_otherwise_has_a_folder_of_its_own():
    assert own_folder({"seed": 0}) == own_folder({"seed": 0, "timeout_s": 3, "progress": True})
    assert own_folder({"seed": 0}) != own_folder({"target": "llvm"})
    runners = Runner(), Runner()
    assert own_folder({"runner": runners[0]}) == own_folder({"runner": runners[0]})
    assert own_folder({"runner": runners[0]}) != own_folder({"runner": runners[1]})


OWNER = """
import os, sys
from mschedx.networks.torch_folder import own_folder
folder = own_folder({})
child = os.fork()
if not child:
    sys.exit(0 if own_folder({}) != folder else 1)
status = os.waitpid(child, 0)[1]
print(folder, status, os.path.isdir(folder))
"""


def test_the_folder_goes_with_its_process_and_not_with_a_fork_of_it():
    folder, status, was_there = subprocess.run(
        [sys.executable, "-c", OWNER], capture_output=True, text=True, check=True
    ).stdout.split()
    assert (status, was_there) == ("0", "True")
    assert not os.path.exists(folder)
