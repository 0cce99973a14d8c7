"""Functions that are near 0 where their argument is."""

import numpy as np
import pytest
import torch
from tiny_networks import Applied, relax_outputs

from mschedx.networks.importing import read_network

SIZES = torch.logspace(-9, 4, 391, dtype=torch.float64)
BOTH = torch.cat([-SIZES.flip(0), torch.zeros(1, dtype=torch.float64), SIZES])
F = torch.nn.functional


def in_tvm(function, x):
    network = read_network(Applied(function).eval(), (x,))
    (found,) = relax_outputs(network.mod, [x.numpy()])
    return found


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (torch.log1p, -1, 1e4),
        (torch.expm1, -1e4, 80),
        (torch.atanh, -1, 1),
        (torch.asinh, -1e4, 1e4),
        (torch.sinh, -80, 80),
        (F.softplus, -80, 1e4),
        (F.logsigmoid, -1e4, 80),
        (lambda x: torch.logaddexp(x, torch.zeros_like(x)), -80, 1e4),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_value_is_right_in_its_own_size(function, low, high, dtype):
    inside = BOTH[(low < BOTH) & (high > BOTH)]
    x = inside.to(dtype)
    expected = function(x.double()).to(dtype).numpy()
    rtol = 16 * float(np.finfo(expected.dtype).eps)
    np.testing.assert_allclose(in_tvm(function, x), expected, rtol=rtol, atol=0)


@pytest.mark.parametrize(
    ("function", "ends"),
    [
        (torch.log1p, [-2, -1, -0.0, torch.inf, torch.nan]),
        (torch.expm1, [-torch.inf, -1e3, 0, 1e3, torch.inf, torch.nan]),
        (torch.atanh, [-torch.inf, -2, -1, 0, 1, 2, torch.inf, torch.nan]),
    ],
)
def test_ends_are_those_of_torch(function, ends):
    x = torch.tensor(ends)
    np.testing.assert_array_equal(in_tvm(function, x), function(x).numpy())


def test_half_precision_is_rounded_once():
    x = BOTH[(BOTH > -1) & (BOTH < 100)].half()
    np.testing.assert_allclose(in_tvm(torch.log1p, x), torch.log1p(x).numpy(), rtol=1e-3, atol=0)
