"""A tiny network, and graphs of torch.compile without measurements."""

import pytest
import torch
from tiny_networks import quick, two

from mschedx.networks import torch_backend, torch_folder


@pytest.fixture(autouse=True)
def without_records():
    """What other tests have measured is not found."""
    torch_folder.forget()


@pytest.fixture(scope="module")
def network():
    """A network of two tasks, and its inputs."""
    return two()


@pytest.fixture
def invented(monkeypatch):
    """Measure invented latencies, and count the artefacts."""
    real, calls = torch_backend.tune_model, []

    def tune(model, inputs, **options):
        calls.append([tuple(x.shape) for x in inputs])
        return real(model, inputs, **{**quick(), "verify": False, **options})

    monkeypatch.setattr(torch_backend, "tune_model", tune)
    torch._dynamo.reset()
    return calls
