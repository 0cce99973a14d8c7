"""Transposed convolutions with channels last: right, in place, and only where they are known."""

import numpy as np
import pytest
import torch
from agreement import assert_sketches_agree
from tiny_networks import relax_outputs
from torch import nn
from tvm import relax

from mschedx.hardware import host_target
from mschedx.networks.importing import import_network
from mschedx.networks.rewrites.graph import op_name
from mschedx.networks.rewrites.phases import PhasedAxis, phased_convolution
from mschedx.networks.rewrites.pipeline import simplify


def rewritten(model, image):
    """Names of a network's operators with channels last, its outputs compared with torch's."""
    found = import_network(model.eval(), (image,))
    after = simplify(found.mod, channels_last=True)
    with torch.no_grad():
        expected = model(image).numpy()
    (output,) = relax_outputs(after, [image.numpy()])
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    names = []
    relax.analysis.post_order_visit(after["main"], lambda e: names.append(op_name(e)))
    return [name.removeprefix("relax.").removeprefix("nn.") for name in names if name]


def image(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.ConvTranspose2d(3, 8, 4, 2, 1), (2, 3, 5, 6)),
        (nn.ConvTranspose2d(3, 8, 4, 2, 0), (1, 3, 5, 6)),
        (nn.ConvTranspose2d(3, 8, 3, 2, 1, output_padding=1), (1, 3, 5, 5)),
        (nn.ConvTranspose2d(3, 8, 5, 2, 2, output_padding=1), (1, 3, 4, 7)),
        (nn.ConvTranspose2d(3, 16, 2, 2), (1, 3, 4, 4)),
        (nn.ConvTranspose2d(3, 8, 8, 4, 4, output_padding=0), (1, 3, 5, 5)),
        (nn.ConvTranspose2d(3, 8, (4, 3), (2, 1), (1, 1)), (1, 3, 4, 5)),
        (nn.ConvTranspose1d(3, 8, 4, 2, 1), (2, 3, 7)),
        (nn.ConvTranspose2d(3, 8, 4, 2, 1), (1, 3, 1, 1)),
    ],
    ids=[
        *("padded", "whole", "odd kernel", "five taps", "no overlap", "stride 4", "two strides"),
        *("one axis", "one pixel"),
    ],
)
def test_every_phase_is_written_in_place(layer, shape):
    found = rewritten(layer, image(*shape))
    assert "call_tir" in found
    assert not any(name.startswith("conv") for name in found)
    assert found.count("permute_dims") <= 2  # of the image and of the output


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.ConvTranspose2d(3, 4, 4, 2, 1), 5),
        (nn.ConvTranspose2d(3, 8, 3, 2, 1), 5),
        (nn.ConvTranspose2d(3, 8, 8, 4, 2), 5),
        (nn.ConvTranspose2d(3, 8, 3, 1, 1), 5),
    ],
    ids=["few channels", "uneven phases", "padding within a stride", "no stride"],
)
def test_others_are_convolutions(layer, size):
    found = rewritten(layer, image(1, 3, size, size))
    assert "call_tir" not in found
    assert "conv2d" in found


def test_nothing_is_turned_between_two_of_them():
    layers = [
        nn.ConvTranspose2d(8, 16, 4, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1),
        nn.Conv2d(8, 8, 3, padding=1),
    ]
    found = rewritten(nn.Sequential(*layers), image(1, 8, 3, 3))
    assert found.count("call_tir") == 2
    assert found.count("permute_dims") == 2


def test_phases_of_an_axis_are_those_of_the_definition():
    """``o + p = Q · s + R`` and ``x[Q − t] · w[R + s · t]``, for every output and tap."""
    seen = 0
    for before in (1, 4, 5):
        for kernel in range(1, 9):
            for stride in (1, 2, 3, 4):
                for padding in range(kernel):
                    after = (before - 1) * stride - 2 * padding + kernel
                    axis = PhasedAxis.of(before, after, kernel, stride, padding)
                    if after < 1 or axis is None:
                        continue
                    seen += 1
                    margin = axis.left + before + axis.right
                    for output in range(after):
                        place, phase = divmod(output, stride)
                        place_of, phase_of = divmod(output + padding, stride)
                        assert (phase + axis.first) % stride == phase_of
                        for tap in range(axis.taps):
                            read = place + phase * axis.first + axis.taps - 1 - tap
                            assert 0 <= read < margin
                            assert read - axis.left == place_of - tap
    assert seen > 30


@pytest.mark.parametrize(
    ("outputs", "axes"),
    [
        (16, [PhasedAxis.of(3, 6, 4, 2, 1), PhasedAxis.of(5, 10, 4, 2, 1)]),
        (32, [PhasedAxis.of(4, 8, 3, 2, 1), PhasedAxis.of(4, 4, 3, 1, 1)]),
        (16, [PhasedAxis.of(7, 14, 2, 2, 0)]),
    ],
    ids=["square taps", "two strides", "no margin"],
)
def test_its_schedules_compute_the_same(outputs, axes):
    assert_sketches_agree(phased_convolution(2, 3, outputs, axes), host_target(), 3)
