"""Pooling with torch's defaults and sizes."""

import numpy as np
import pytest
import torch
from tiny_networks import relax_outputs

from mschedx.networks.importing import read_network

F = torch.nn.functional


class Pooled(torch.nn.Module):
    """The same pooling of several images."""

    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, *images):
        return tuple(self.pool(image) for image in images)


def images(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape in shapes]


SQUARES = images(*((1, 2, extent, extent) for extent in range(3, 10)))
OBLONGS = images((1, 2, 3, 4), (1, 2, 4, 3), (2, 7, 8), (1, 1, 9, 6))
CUBES = images((1, 2, 3, 4, 5), (1, 2, 4, 3, 6))
ROWS = images((2, 3), (1, 2, 4), (1, 2, 7))
CASES = {
    "no stride, rounded up": (lambda x: F.max_pool2d(x, 2, ceil_mode=True), SQUARES),
    "no stride, padded": (lambda x: F.max_pool2d(x, 3, padding=1), SQUARES),
    "no stride, dilated": (lambda x: F.max_pool2d(x, 2, dilation=2), SQUARES),
    "no stride in a volume": (lambda x: F.max_pool3d(x, 2, padding=1), CUBES),
    "no stride in a row": (lambda x: F.max_pool1d(x, 2, ceil_mode=True), ROWS),
    "a window in the padding": (torch.nn.MaxPool2d(2, 2, padding=1, ceil_mode=True), SQUARES),
    "a window behind the image": (lambda x: F.max_pool2d(x, 1, 2, ceil_mode=True), SQUARES),
    "on one axis alone": (lambda x: F.max_pool2d(x, 2, 2, 1, 1, True), OBLONGS),
    "in a volume": (lambda x: F.max_pool3d(x, 2, 2, 1, 1, True), CUBES),
    "means, a window in the padding": (
        torch.nn.AvgPool2d(2, 2, padding=1, ceil_mode=True),
        [*SQUARES, *OBLONGS],
    ),
    "means without the padding": (
        torch.nn.AvgPool2d(2, 2, padding=1, ceil_mode=True, count_include_pad=False),
        [*SQUARES, *OBLONGS],
    ),
    "means, steps beyond the window": (torch.nn.AvgPool2d(2, 3, ceil_mode=True), SQUARES),
    "means in a volume": (torch.nn.AvgPool3d(2, 2, padding=1, ceil_mode=True), CUBES),
}


@pytest.mark.parametrize("case", CASES)
def test_windows_are_those_of_torch(case):
    pool, tensors = CASES[case]
    network = read_network(Pooled(pool).eval(), tuple(tensors))
    found = relax_outputs(network.mod, [tensor.numpy() for tensor in tensors])
    for tensor, pooled in zip(tensors, found, strict=True):
        np.testing.assert_allclose(pooled, pool(tensor).numpy(), rtol=1e-5, atol=1e-6)
