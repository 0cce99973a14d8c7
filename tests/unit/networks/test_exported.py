"""Programs that torch exports, and what they are compared with."""

import pytest
import torch

from mschedx.networks.exported import program_of


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
