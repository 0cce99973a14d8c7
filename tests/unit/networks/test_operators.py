"""Operators of torch that TVM's importer lacks or reads otherwise, in Relax."""

import numpy as np
import pytest
import torch
from imported_functions import HEADS, IMAGE, MATRIX, OFFSET, VISIBLE, imported, sdpa
from tiny_networks import relax_outputs

from mschedx.networks.importing import read_network

INTEGERS = torch.randint(-9, 9, (4, 6), generator=torch.Generator().manual_seed(0))
FULL = torch.arange(4, 16, dtype=torch.uint8).reshape(2, 6)
GRID = torch.linspace(-1.2, 1.2, 2 * 3 * 5 * 2).reshape(2, 3, 5, 2).sin() * 1.2


@pytest.mark.parametrize(
    ("function", "tensors"),
    [
        (lambda x: x[:, -1], [IMAGE]),
        (lambda x: x[..., -2] + x[-1, :, :, 3], [IMAGE]),
        (lambda x: x[:, [0, 3, -1]], [IMAGE]),
        (lambda x: x[:, :, [0, -1], [2, -3]], [IMAGE]),
        (lambda x: x[:, [0, -1], :, [2, -3]], [IMAGE]),
        (lambda x: x[[0, -1], [2, -3]], [IMAGE]),
        (lambda x: x[:, [[0], [1]], [2, -3]], [IMAGE]),
        (lambda x, i: x[:, i], [IMAGE, torch.tensor([-1, 2, -4])]),
        (lambda x: x + 0.5, [INTEGERS]),
        (lambda x: x - 0.5, [INTEGERS]),
        (lambda x: x * 0.5, [INTEGERS > 0]),
        (lambda x: x + 1, [INTEGERS > 0]),
        (lambda x: x / 4, [INTEGERS]),
        (lambda x, y: x / y, [INTEGERS, INTEGERS.abs() + 1]),
        (lambda x: x % 2.5, [INTEGERS]),
        (lambda x: x**0.5, [INTEGERS.abs()]),
        (lambda x: (x > 0.5) | (x <= -2.5) | (x == 0.25) | (x != 0.0), [INTEGERS]),
        (lambda x: x // 4, [INTEGERS]),
        (lambda x: x // -4, [INTEGERS]),
        (lambda x: torch.div(x, 4, rounding_mode="trunc"), [INTEGERS]),
        (lambda x, y: torch.div(x, y, rounding_mode="trunc"), [INTEGERS, INTEGERS.abs() - 11]),
        (lambda x: torch.div(x, 0.3, rounding_mode="floor"), [IMAGE]),
        (lambda x: torch.div(x, 0.3, rounding_mode="trunc"), [IMAGE]),
        (lambda x: 0.5 - x, [INTEGERS]),
        (lambda x: 1 / (x.abs() + 1), [INTEGERS]),
        (lambda x: 2.0**x, [INTEGERS]),
        (lambda x: x // 0.5, [INTEGERS]),
        (lambda x: torch.div(x, 0.7, rounding_mode="trunc"), [INTEGERS]),
        (lambda x: x.fmod(2.5), [INTEGERS]),
        (lambda x: x.remainder(-2.5), [INTEGERS]),
        (lambda x: x.exp() + x.sigmoid() + x.abs().sqrt() + x.tanh(), [INTEGERS]),
        (lambda x: (x > 0) * (x < 3), [INTEGERS]),
        (lambda x: (x > 0) + (x < -3), [INTEGERS]),
        (lambda x: x + x.long(), [INTEGERS.int()]),
        (lambda x: x * torch.tensor(2.0), [IMAGE.half()]),
        (lambda x: x + torch.tensor(2), [INTEGERS.int()]),
        (lambda x: torch.maximum(x, x.float() / 2), [INTEGERS]),
        (lambda x: torch.cat([x, x.float() / 2]), [INTEGERS]),
        (lambda x: torch.where(x > 0, x, x.float() / 2), [INTEGERS]),
        (lambda x: x > x.float() * 0.5, [INTEGERS]),
        (lambda x, y: torch.add(x, y, alpha=2), [IMAGE, IMAGE + 1]),
        (lambda x: torch.add(x, 3, alpha=2), [IMAGE]),
        (lambda x: torch.sub(x, x.flip(0), alpha=0.5), [IMAGE]),
        (lambda x: torch.rsub(x, x.flip(0), alpha=2), [IMAGE]),
        (lambda x: torch.add(x, x, alpha=3), [INTEGERS]),
        (lambda x: (x.any(), x.all(), (x < 20).all()), [INTEGERS]),
        (lambda x: (x.any(1), x.all(0, keepdim=True)), [INTEGERS]),
        (lambda x: (x.any((0, 1)), x.all((1, 0), keepdim=True)), [INTEGERS]),
        (lambda x: (x.any((1, -1)), x.all((0, 2))), [IMAGE - 0.5]),
        (lambda x: x + torch.full((7, 7), -torch.inf).triu(1)[:6], [IMAGE]),
        (lambda x: torch.full_like(x, torch.inf), [IMAGE]),
        (lambda x: torch.full((3,), torch.nan) + x, [OFFSET]),
        (lambda x: x.clamp(min=0.5), [INTEGERS]),
        (lambda x: x.clamp(-0.5, 2.5), [INTEGERS]),
        (lambda x: x.clamp(min=2), [INTEGERS]),
        (lambda x: x.clamp(max=0), [INTEGERS.int()]),
        (lambda x: x.clamp(min=0.1), [IMAGE]),
        (lambda x: (x > 0).cumsum(1), [INTEGERS]),
        (lambda x: (x > 0).cumsum(1, dtype=torch.int32), [INTEGERS]),
        (lambda x: x.cumsum(1), [FULL]),
        (lambda x: x.cumprod(1), [FULL]),
        (lambda x: x.cumsum(1, dtype=torch.int16), [IMAGE.half()]),
        (lambda x: x.cumprod(1, dtype=torch.float64), [INTEGERS.int()]),
        (lambda x: x.prod(), [FULL]),
        (lambda x: x.prod(dtype=torch.float32), [INTEGERS[:1, :3]]),
        (lambda x: x.sum(1, dtype=torch.int16), [IMAGE.half()]),
        (lambda x: (x.any(), x.all(), x.any(1), x.all(0)), [FULL]),
        (lambda x: (x.any((0, 1)), x.all((0, 1))), [FULL]),
        (lambda x: (x & 1, x | 2, x ^ x.int(), x & (x > 3)), [FULL]),
        (lambda x: (x > 0) & 1, [INTEGERS]),
        (lambda x: torch.nn.functional.selu(x), [IMAGE]),
        (lambda x: torch.nn.functional.celu(x, 2.0), [IMAGE]),
        (lambda x: torch.nn.functional.elu(x, 0.5), [IMAGE]),
        (lambda x: torch.logaddexp(x, x.flip(0)), [IMAGE * 30]),
        (torch.logaddexp, [OFFSET.sign() / 0, torch.full((3,), torch.inf)]),
        (lambda x: tuple(x.min(1)), [IMAGE]),
        (lambda x: tuple(x.min(-1, keepdim=True)), [IMAGE.round()]),
        (lambda x: torch.nn.functional.group_norm(x, 2), [torch.randn(2, 4, 6, 7)]),
        (lambda x: torch.nn.functional.avg_pool2d(x, 2, divisor_override=5), [IMAGE]),
        (lambda x: torch.nn.functional.avg_pool2d(x, (2, 3), 1, 1, divisor_override=5), [IMAGE]),
        (lambda x: torch.nn.functional.avg_pool3d(x[None], 2, divisor_override=3), [IMAGE]),
        (lambda x: torch.nn.functional.interpolate(x, size=(4, 17)), [IMAGE]),
        (lambda x: torch.nn.functional.interpolate(x, scale_factor=1.7), [IMAGE]),
        (lambda x: torch.nn.functional.interpolate(x, scale_factor=2), [IMAGE]),
        (lambda x: torch.nn.functional.interpolate(x, scale_factor=3, mode="linear"), [IMAGE[0]]),
        (sdpa, [HEADS]),
        (sdpa, [HEADS, HEADS[:, :, :3]]),
        (lambda x: sdpa(x, is_causal=True), [HEADS]),
        (lambda x: sdpa(x, x[:, :, :3], is_causal=True), [HEADS]),
        (lambda x: sdpa(x, scale=0.3), [HEADS]),
        (lambda x: sdpa(x, x[:, :2], enable_gqa=True), [HEADS]),
        (lambda x: sdpa(x, x[:, :1]), [HEADS]),
        (lambda x: sdpa(x, x[:1, :1]), [HEADS]),
        (lambda x, mask: sdpa(x, attn_mask=mask), [HEADS, VISIBLE]),
        (lambda x, mask: sdpa(x, attn_mask=mask), [HEADS, VISIBLE[None, None]]),
        (lambda x, mask: sdpa(x, attn_mask=mask), [HEADS, HEADS[:, :1, :, :5].clone()]),
        (lambda x, mask: sdpa(x, attn_mask=mask), [HEADS, HEADS[0, :, :, :5].clone()]),
        (lambda x, mask: sdpa(x, attn_mask=mask), [HEADS[0], VISIBLE]),
        (lambda x, mask: sdpa(x, attn_mask=mask), [HEADS[0], HEADS[0, :, :, :5].clone()]),
        (lambda x, v: sdpa(x, x, v, scale=2.0), [HEADS[0, 0], HEADS[0, 1, :, :3].clone()]),
    ],
)
def test_operators_that_the_importer_reads_otherwise_or_not_at_all(function, tensors):
    found, expected = imported(function, *tensors)
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert str(one.dtype) == str(other.dtype).removeprefix("torch.")
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [True, False])
def test_images_at_the_points_of_a_grid(mode, padding, corners):
    def sampled(x, grid):
        return torch.nn.functional.grid_sample(x, grid, mode, padding, align_corners=corners)

    (found,), (expected,) = imported(sampled, IMAGE, GRID)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / x.shape[0],
        lambda x: x / 2,
        lambda x: x.sum(0) / (x.shape[1] * x.shape[2]),
        lambda x: x.shape[1] / (x + 100),
        lambda x: x * x.shape[1] + x.shape[2] - x,
    ],
)
def test_sizes_are_numbers_beside_tensors(function, dtype):
    x = (IMAGE * 8).to(dtype)
    (found,), (expected,) = imported(function, x)
    assert str(found.dtype) == str(expected.dtype).removeprefix("torch.")
    rtol = 1e-3 if dtype == torch.float16 else 1e-6
    np.testing.assert_allclose(found, expected.numpy(), rtol=rtol, atol=rtol)


class Averaged(torch.nn.Module):
    def forward(self, x):
        return x.sum(0) / x.shape[0] + x.shape[0] * x.mean(0)


def test_sizes_that_vary_are_numbers_beside_tensors():
    rows = torch.export.Dim("rows", min=2, max=9)
    network = read_network(Averaged().eval(), (MATRIX,), {"x": {0: rows}})
    size = str(network.mod["main"].params[0].ty.shape[0])
    x = torch.linspace(-3, 3, 7 * 5).reshape(7, 5)
    (found,) = relax_outputs(network.fixed({size: 7}).mod, [x.numpy()])
    np.testing.assert_allclose(found, Averaged()(x).numpy(), rtol=1e-5, atol=1e-6)
