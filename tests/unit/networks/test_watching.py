"""Weights that are not what they were."""

import pytest
import torch
from tiny_networks import two

from mschedx.networks.importing import import_network
from mschedx.networks.watching import Watch, watch


class Kept(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 4)
        self.register_buffer("left_out", torch.ones(4), persistent=False)
        self.plain = torch.full((4,), 2.0)

    def forward(self, x):
        return self.linear(x) * self.left_out + self.plain


def write(model):
    with torch.no_grad():
        model.linear.bias.add_(1)


def write_uncounted(model):
    model.linear.weight.data.mul_(2)


def write_by_numpy(model):
    model.linear.bias.detach().numpy()[:] += 1


def other_memory(model):
    model.linear.weight.data = torch.zeros(4, 8)


def replaced(model):
    model.linear.weight = torch.nn.Parameter(model.linear.weight.detach().clone())


def loaded(model):
    model.load_state_dict(
        {name: one.clone() for name, one in model.state_dict().items()}, assign=True
    )


def write_left_out(model):
    model.left_out.add_(1)


def write_plain(model):
    model.plain.add_(1)


def taken_away(model):
    model.linear.bias = None


CHANGES = [
    (write, ["linear.bias"]),
    (write_uncounted, ["linear.weight"]),
    (write_by_numpy, ["linear.bias"]),
    (other_memory, ["linear.weight"]),
    (replaced, ["linear.weight"]),
    (loaded, ["linear.weight", "linear.bias"]),
    (write_left_out, ["left_out"]),
    (write_plain, ["plain"]),
    (taken_away, ["linear.bias"]),
]


@pytest.mark.parametrize(("change", "names"), CHANGES)
def test_every_change_of_a_module_is_noticed(change, names):
    model = Kept().eval()
    found = import_network(model, torch.rand(3, 8))
    assert found.changed() == []
    change(model)
    assert sorted(found.changed()) == sorted(names)


@pytest.mark.parametrize(("change", "names"), CHANGES[:3] + CHANGES[6:8])
def test_writes_to_an_exported_program_are_noticed(change, names):
    model = Kept().eval()
    found = import_network(torch.export.export(model, (torch.rand(3, 8),)))
    assert found.changed() == []
    change(model)
    assert found.changed() == names


def test_weights_of_inference_mode_are_looked_at():
    with torch.inference_mode():
        model, inputs = two()
        found = import_network(model, inputs)
        model.second.bias.add_(1)
    assert found.changed() == ["second.bias"]


TENSORS = [
    torch.arange(40.0),
    torch.tensor(3.0),
    torch.arange(3, dtype=torch.uint8),
    torch.tensor([True, False]),
    torch.ones(6, 8).bfloat16().t()[:, 1:],
    torch.zeros(5, 1).expand(5, 7),
]


@pytest.mark.parametrize("tensor", TENSORS)
def test_a_write_that_torch_does_not_count(tensor):
    tensors = [torch.ones(3), tensor, torch.empty(0), torch.eye(2).to_sparse()]
    watched, changed = Watch(tensors), watch(lambda: dict(enumerate(tensors)))
    version = tensor._version
    assert not watched.has_changed(tensors)
    whole = tensor.data[:, :1] if 0 in tensor.stride() else tensor.data
    whole.copy_(whole.logical_not() if whole.dtype == torch.bool else whole + 1)
    assert tensor._version == version
    assert watched.has_changed(tensors)
    assert changed() == [1]


def test_single_elements_are_seen_where_they_are_looked_at():
    tensor = torch.zeros(100_000)
    changed = watch(lambda: {"x": tensor})
    tensor.data[0] = 1
    assert changed() == ["x"]
    tensor.data[0] = 0
    assert changed() == []


def test_a_write_that_torch_counts():
    tensor = torch.zeros(100_000)
    watched = Watch([tensor])
    tensor[0] = 1  # not one of the bytes that are looked at
    assert watched.has_changed([tensor])


def test_a_tensor_elsewhere_has_changed():
    tensor = torch.zeros(8)
    watched = Watch([tensor])
    tensor.data = torch.zeros(8)
    assert watched.has_changed([tensor])


def test_a_watch_tells_when_a_tensor_is_gone():
    kept, tensor, gone = torch.zeros(8), torch.nn.Parameter(torch.zeros(8)), []
    watched = Watch([kept, tensor], lambda: gone.append(True))
    assert not watched.has_changed([kept, tensor])
    assert not gone
    del tensor
    assert gone == [True]
