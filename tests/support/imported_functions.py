"""Functions of torch in TVM, and what they are given."""

import torch
from tiny_networks import relax_outputs

from mschedx.networks.importing import read_network

IMAGE = torch.linspace(-2, 2, 2 * 4 * 6 * 7).reshape(2, 4, 6, 7).sin()
MATRIX, VECTOR, OFFSET = torch.randn(3, 5), torch.randn(5), torch.randn(3)
HEADS = torch.linspace(-3, 3, 2 * 4 * 5 * 8).reshape(2, 4, 5, 8).cos()
VISIBLE = torch.ones(5, 5).tril().bool()


def module(function):
    class Function(torch.nn.Module):
        def forward(self, *tensors):
            return function(*tensors)

    return Function().eval()


def imported(function, *tensors):
    """Outputs of the function in TVM, and in torch."""
    network = read_network(module(function), tensors)
    found = relax_outputs(network.mod, [tensor.numpy() for tensor in tensors])
    expected = function(*tensors)
    return found, expected if isinstance(expected, tuple | list) else [expected]


def sdpa(q, k=None, v=None, **more):
    k = q if k is None else k
    return torch.nn.functional.scaled_dot_product_attention(q, k, k if v is None else v, **more)
