"""Programs that torch exports, and what they are compared with."""

import pytest
import torch
from captured_graphs import OPTIONS
from tiny_networks import TARGET, quick

from mschedx import tune_model
from mschedx.networks.exported import program_of
from mschedx.networks.torch_backend import backend


class Sum(torch.nn.Module):
    def forward(self, x, y):
        return x + y


class Elsewhere(torch.Tensor):
    """A tensor that says it lies on a device that is not here."""

    @property
    def device(self):
        return torch.device("cuda", 1)


@pytest.fixture
def exported():
    return torch.export.export(Sum().eval(), (torch.rand(3), torch.rand(3)))


def test_the_reference_runs_where_the_example_inputs_are(exported, monkeypatch):
    """A model on a GPU refuses tensors of the host."""
    examples = (torch.rand(3).as_subclass(Elsewhere), torch.rand(3))
    program = program_of(exported, examples)
    sent, real = [], torch.Tensor.to

    def to(tensor, place):
        sent.append(str(place))
        return real(tensor, "cpu")

    monkeypatch.setattr(torch.Tensor, "to", to)
    (found,) = program.reference([torch.ones(3), torch.ones(3)])
    assert sent == ["cuda:1", "cpu"]
    assert found.tolist() == [2, 2, 2]


def test_examples_without_values_say_nothing_of_a_device(exported):
    program = program_of(exported, (torch.empty(3, device="meta"), torch.empty(3, device="meta")))
    (found,) = program.reference([torch.ones(3), torch.ones(3)])
    assert found.tolist() == [2, 2, 2]


def test_a_network_under_autocast_is_compared_under_autocast():
    """The reference runs in a thread of its own, where autocast is off."""
    model, x = torch.nn.Linear(8, 4).eval(), torch.rand(3, 8)
    parts = quick(space=None, strategy=None, cost_model=None)
    with torch.autocast("cpu", torch.bfloat16):
        result = tune_model(model, (x,), trials_per_task=0, **parts)
        expected = model(x)
    assert not result.wrong
    assert result.verified, result.notes
    found = result.compile()(x)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)


def test_a_graph_that_is_captured_under_autocast_gives_what_torch_gives(recwarn):
    torch._dynamo.reset()
    model, x = torch.nn.Linear(8, 4).eval(), torch.rand(3, 8)
    options = {**OPTIONS, "trials_per_task": 0, "target": TARGET}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = torch.compile(model, backend=backend, options=options)(x)
        expected = model(x)
    assert not [str(one.message) for one in recwarn if "left to torch" in str(one.message)]
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)
