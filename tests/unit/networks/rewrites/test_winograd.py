"""Convolutions by Winograd's transforms: right, within a bound, and only where they are meant."""

import re

import numpy as np
import pytest
import torch
import tvm
from tiny_networks import quick, relax_outputs
from torch import nn
from tvm import relax

from mschedx import tune_model
from mschedx.hardware import host_target
from mschedx.networks.importing import import_network
from mschedx.networks.rewrites.graph import op_name
from mschedx.networks.rewrites.pipeline import fuse, simplify
from mschedx.networks.rewrites.winograd import ERROR, matrices, tile_of, transformed_weights
from mschedx.networks.tasks import tasks_of


def rewritten(model, *inputs, winograd=True):
    """A network by its transforms, and the largest error of its first output over the largest."""
    found = import_network(model.eval(), inputs)
    after = simplify(found.mod, channels_last=True, winograd=winograd)
    with torch.no_grad():
        expected = model.double()(*(value.double() for value in inputs)).numpy()
        model.float()
    (output,) = relax_outputs(after, [value.numpy() for value in inputs])
    return after, np.abs(output - expected).max() / np.abs(expected).max()


def operators(mod):
    names = []
    relax.analysis.post_order_visit(mod["main"], lambda e: names.append(op_name(e)))
    return [name.removeprefix("relax.").removeprefix("nn.") for name in names if name]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def convolution(channels=64, outputs=64, **more):
    made = nn.Conv2d(channels, outputs, 3, **{"padding": 1, "bias": False, **more})
    with torch.no_grad():
        made.weight.copy_(normal(*made.weight.shape, seed=1))
    return made


@pytest.mark.parametrize("tile", [2, 4])
def test_transforms_filter_a_signal(tile):
    a, g, b = matrices(tile)
    rng = np.random.default_rng(0)
    signal, weights = rng.standard_normal(tile + 2), rng.standard_normal(3)
    expected = np.correlate(signal, weights, "valid")
    np.testing.assert_allclose(a.T @ ((g @ weights) * (b.T @ signal)), expected, rtol=1e-12)
    for exact in (a, b):
        np.testing.assert_array_equal(exact, exact.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "more", "tile"),
    [
        ((1, 64, 24, 24), {}, 4),
        ((2, 64, 16, 20), {"padding": 0, "channels": 64}, 2),
        ((1, 64, 14, 14), {}, 2),
        ((1, 256, 24, 24), {"channels": 256, "outputs": 72}, 4),
        ((1, 256, 14, 14), {"channels": 256}, 2),
        ((3, 64, 10, 22), {"padding": (0, 1)}, 2),
    ],
    ids=["F4", "valid", "F2", "many", "many F2", "odd"],
)
def test_a_convolution_is_right_within_its_bound(shape, more, tile):
    mod, error = rewritten(convolution(**more), normal(*shape))
    assert "conv2d" not in operators(mod)
    (products,) = matmuls(mod)
    assert products == (tile + 2) ** 2
    assert error < ERROR[tile]


def matmuls(mod):
    """The first extent of every matrix product."""
    found = []

    def visit(expr):
        if op_name(expr) == "relax.matmul":
            found.append(int(expr.ty.shape[0]))

    relax.analysis.post_order_visit(mod["main"], visit)
    return found


@pytest.mark.parametrize(
    ("shape", "kernel", "padding", "tile"),
    [
        ((1, 64, 3, 16, 16), 3, 1, 4),
        ((2, 64, 4, 10, 14), (2, 3, 3), (0, 1, 1), 2),
        ((1, 64, 3, 14, 14), (3, 3, 3), (2, 0, 0), 4),
        ((1, 64, 4, 16, 16), (1, 3, 3), (0, 1, 1), 4),
        ((1, 64, 4, 16, 16), (1, 3, 3), (1, 1, 1), 4),
    ],
    ids=["F4", "batch", "more frames than before", "single frames", "frames of zeros"],
)
def test_a_convolution_of_frames_is_right_within_its_bound(shape, kernel, padding, tile):
    made = nn.Conv3d(64, 72, kernel, padding=padding, bias=False)
    with torch.no_grad():
        made.weight.copy_(normal(*made.weight.shape, seed=1))
    mod, error = rewritten(made, normal(*shape))
    assert "conv3d" not in operators(mod)
    assert transformed_sets(mod) == (tile + 2) ** 2
    assert error < ERROR[tile]


def transformed_sets(mod):
    """How many sets of weights lie between the transforms of the only convolution."""
    found = []

    def visit(expr):
        if isinstance(expr, tvm.ir.GenericConst) and len(expr.ty.shape) >= 3:
            found.append(int(expr.ty.shape[0]))

    relax.analysis.post_order_visit(mod["main"], visit)
    (sets,) = found
    return sets


def test_the_points_of_the_large_tile_keep_its_error_near_the_direct_forms():
    image = normal(1, 256, 24, 24)
    _, direct = rewritten(convolution(256), image, winograd=False)
    _, transformed = rewritten(convolution(256), image)
    assert transformed < 4 * direct


def test_weights_are_transformed_in_double():
    weight = np.random.default_rng(0).standard_normal((3, 3, 4, 5)).astype(np.float32)
    _, g, _ = matrices(4)
    found = transformed_weights(weight, 4)
    assert found.dtype == np.float32
    assert found.shape == (36, 4, 5)
    expected = g @ weight[:, :, 2, 3].astype(np.float64) @ g.T
    np.testing.assert_allclose(found[:, 2, 3].reshape(6, 6), expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    ("output", "channels", "tile"),
    [
        ((1, 56, 56, 64), 64, 4),
        ((1, 28, 28, 128), 128, 4),
        ((1, 14, 14, 256), 256, 2),  # 4 does not divide it
        ((1, 16, 16, 256), 256, 2),  # 16 tiles of 4
        ((1, 7, 7, 512), 512, None),  # an odd edge
        ((1, 8, 8, 512), 512, None),  # 16 tiles
        ((4, 8, 8, 512), 512, 2),
        ((1, 56, 56, 32), 64, None),
        ((1, 56, 56, 64), 32, None),
        ((1, 8, 16, 16, 256), 256, 4),
        ((1, 4, 14, 14, 256), 256, 2),
        ((1, 2, 7, 7, 512), 512, None),
    ],
)
def test_where_it_pays(output, channels, tile):
    assert tile_of(output, (3, 3, channels, output[-1])) == tile


@pytest.mark.parametrize(
    "layer",
    [
        convolution(stride=2),
        convolution(dilation=2, padding=2),
        convolution(groups=2),
        nn.Conv2d(64, 64, (3, 1), bias=False),
        nn.Conv2d(64, 64, 5, padding=2, bias=False),
        convolution(outputs=36),
        nn.Conv3d(64, 64, 3, (2, 1, 1), bias=False),
        nn.Conv3d(64, 64, 3, dilation=(2, 1, 1), bias=False),
        nn.Conv3d(64, 64, (3, 1, 1), bias=False),
    ],
    ids=[
        *("stride", "dilation", "groups", "not square", "5 x 5", "channels first"),
        *("every other frame", "frames apart", "frames alone"),
    ],
)
def test_other_convolutions_stay(layer):
    frames = (5,) if isinstance(layer, nn.Conv3d) else ()
    mod, error = rewritten(layer, normal(1, 64, *frames, 24, 24))
    assert operators(mod).count(f"conv{2 + len(frames)}d") == 1
    assert error < 3e-6


class Block(nn.Module):
    """As ResNet-18's: the sum behind the second convolution is of the first one's output."""

    def __init__(self):
        super().__init__()
        self.first, self.second = convolution(bias=True), convolution(bias=True)

    def forward(self, x):
        y = torch.relu(self.first(x))
        return torch.relu(self.second(y) + y)


def test_bias_activation_and_sum_are_fused_with_the_transform_of_the_output():
    mod, error = rewritten(Block(), normal(1, 64, 24, 24))
    assert error < 2 * ERROR[4]
    target = host_target()
    found = tasks_of(fuse(mod, target, prepack=True), target).tunable
    names = sorted(re.sub("[0-9]", "", task.name) for task in found)
    assert names == [
        *("fused_reshape_transpose", "fused_winograd_output_add_add_relu"),
        *("fused_winograd_output_add_relu", "matmul", "transpose", "winograd_input"),
    ]


@pytest.mark.parametrize("exact", [False, True])
def test_it_is_left_out_where_exactness_is_asked_for(exact, tmp_path):
    image = normal(1, 64, 12, 12)
    options = {**quick(), "trials_per_task": 1, "work_dir": tmp_path, "exact": exact}
    result = tune_model(convolution().eval(), (image,), **options)
    assert result.verified
    assert exact != any("winograd" in choice.task.name for choice in result.tasks)
