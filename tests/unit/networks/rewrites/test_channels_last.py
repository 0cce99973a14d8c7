"""Networks with their channels last compute the same, with transpositions at their ends only."""

import numpy as np
import pytest
import torch
from tiny_networks import relax_outputs
from torch import nn
from tvm import relax

from mschedx.networks.importing import import_network
from mschedx.networks.rewrites.graph import op_name
from mschedx.networks.rewrites.pipeline import simplify


def turned(model, *inputs):
    """Operators of a network with its channels last, whose outputs have been compared."""
    found = import_network(model.eval(), inputs)
    after = simplify(found.mod, channels_last=True)
    expected = found.reference(list(inputs))
    outputs = relax_outputs(after, [value.numpy() for value in inputs])
    for one, other in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
    names = []
    relax.analysis.post_order_visit(after["main"], lambda e: names.append(op_name(e)))
    return [name.removeprefix("relax.").removeprefix("nn.") for name in names if name]


class Block(nn.Module):
    """A residual block with a gate, as of a squeeze-and-excitation network."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.gate, self.short = nn.Conv2d(16, 16, 1), nn.Conv2d(8, 16, 1, 2)

    def forward(self, x):
        y = self.second(torch.relu(self.first(x)))
        gate = torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        return torch.nn.functional.hardtanh(y * gate, 0, 6) + self.short(x)


def test_a_residual_block_is_transposed_where_it_begins_and_ends():
    names = turned(Block(), torch.randn(2, 8, 7, 9))
    assert names.count("permute_dims") == 2
    assert names[0] == names[-1] == "permute_dims"


@pytest.mark.parametrize(
    ("layers", "shape", "left"),
    [
        ([nn.Conv1d(3, 8, 3, 2)], (2, 3, 9), ["permute_dims", "conv1d", "add", "permute_dims"]),
        (
            [nn.Conv3d(3, 8, 3, padding=1, bias=False), nn.ReLU()],
            (1, 3, 4, 5, 6),
            ["permute_dims", "conv3d", "relu", "permute_dims"],
        ),
        (
            [nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False)],
            (1, 8, 6, 5),
            ["permute_dims", "conv2d", "permute_dims"],
        ),
        (
            [nn.Conv2d(4, 16, (3, 1), groups=2, bias=False), nn.MaxPool2d(3, 2, 1)],
            (1, 4, 8, 7),
            ["permute_dims", "conv2d", "max_pool2d", "permute_dims"],
        ),
        (
            [nn.Conv2d(3, 8, 1, bias=False), nn.AvgPool2d(2, 2, 1, count_include_pad=False)],
            (1, 3, 6, 6),
            ["permute_dims", "conv2d", "avg_pool2d", "permute_dims"],
        ),
        (
            [nn.Conv2d(3, 8, 3, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(1)],
            (2, 3, 5, 5),
            ["permute_dims", "conv2d", "mean", "reshape"],
        ),
    ],
    ids=["1-d", "3-d", "depthwise", "grouped", "average", "head"],
)
def test_what_is_left_of_layers(layers, shape, left):
    assert turned(nn.Sequential(*layers), torch.randn(shape)) == left


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda y, shift: y.sum((1, 3)), ["sum"]),
        (lambda y, shift: y.mean(2), ["mean", "permute_dims"]),
        (lambda y, shift: y.sum(), ["sum"]),
        (lambda y, shift: torch.cat([y, y.exp()], 1), ["exp", "concat", "permute_dims"]),
        (lambda y, shift: y.relu() * 2 + shift, ["relu", "multiply", "add", "permute_dims"]),
        (lambda y, shift: y.reshape(2, -1), ["permute_dims", "reshape"]),
    ],
    ids=["sum", "mean", "all", "concat", "constants", "flat"],
)
def test_what_follows_a_convolution(function, left):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, bias=False)
            self.conv.weight.data += 1  # sums that are not near zero
            self.register_buffer("shift", torch.arange(8.0).reshape(8, 1, 1))

        def forward(self, x):
            return function(self.conv(x), self.shift)

    names = turned(Net(), torch.rand(2, 3, 5, 6))
    assert names == ["permute_dims", "conv2d", *left]


def test_a_tensor_from_elsewhere_is_not_transposed_for_a_sum():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)

        def forward(self, x):
            return self.conv(x) + x

    found = turned(Net(), torch.randn(1, 8, 5, 5))
    assert found == ["permute_dims", "conv2d", "permute_dims", "add"]


@pytest.mark.parametrize("channels", [4, 11])
def test_too_few_channels_for_a_vector_stay_first(channels):
    assert turned(nn.Conv2d(3, channels, 3, bias=False), torch.randn(1, 3, 5, 5)) == ["conv2d"]


def test_weights_that_are_inputs_stay():
    class Net(nn.Module):
        def forward(self, x, w):
            return torch.nn.functional.conv2d(x, w)

    assert turned(Net(), torch.randn(1, 3, 5, 5), torch.randn(8, 3, 3, 3)) == ["conv2d"]


@pytest.mark.parametrize("channels", [6, 12, 21])
def test_nearly_whole_vectors_of_channels_are_filled_with_zeros(channels):
    layers = [nn.Conv2d(4, channels, 3), nn.ReLU(), nn.Conv2d(channels, 16, 1)]
    names = turned(nn.Sequential(*layers), torch.randn(1, 4, 6, 5))
    assert names.count("strided_slice") == 1
    assert names.count("permute_dims") == 2


def test_groups_are_not_filled():
    layer = nn.Conv2d(4, 12, 3, groups=2, bias=False)
    assert turned(layer, torch.randn(1, 4, 6, 5)) == ["conv2d"]
