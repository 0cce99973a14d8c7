"""Rewrites keep the outputs, and leave what they promise."""

import numpy as np
import pytest
import torch
from tiny_networks import relax_outputs
from tvm import relax

from mschedx.models import CATALOGUE, make
from mschedx.networks.importing import import_network
from mschedx.networks.rewrites.graph import op_name
from mschedx.networks.rewrites.pipeline import simplify


def operators(mod):
    names = []
    relax.analysis.post_order_visit(mod["main"], lambda e: names.append(op_name(e)))
    return [name.removeprefix("relax.").removeprefix("nn.") for name in names if name]


def simplified(model, *inputs, **options):
    found = import_network(model.eval(), inputs)
    after = simplify(found.mod, **options)
    expected = found.reference(list(inputs))
    outputs = relax_outputs(after, [value.numpy() for value in inputs])
    assert len(outputs) == len(expected)
    for one, other in zip(outputs, expected):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
    return operators(after)


def settled(module, seed=0):
    """Batch norms with statistics and factors that are not trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if hasattr(part, "running_mean"):
                for tensor in (part.running_mean, part.weight, part.bias):
                    tensor.copy_(torch.randn(tensor.shape, generator=generator))
                part.running_var.uniform_(0.5, 1.5, generator=generator)
    return module


@pytest.mark.parametrize("name", CATALOGUE)
def test_small_networks_compute_the_same(name):
    model, inputs = make(name, small=True)
    assert "batch_norm" not in simplified(model, *inputs)


@pytest.mark.parametrize(
    ("layers", "inputs", "left"),
    [
        ([torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)], (1, 3, 6, 6), ["conv2d", "add"]),
        ([torch.nn.Conv1d(3, 4, 3), torch.nn.BatchNorm1d(4)], (1, 3, 6), ["conv1d", "add"]),
        (
            [torch.nn.ConvTranspose2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4)],
            (1, 3, 6, 6),
            ["conv2d", "add"],
        ),
        ([torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4)], (5, 6), ["matmul", "add"]),
        ([torch.nn.BatchNorm2d(3)], (1, 3, 4, 4), ["multiply", "add"]),
    ],
    ids=["conv2d", "conv1d", "transposed", "linear", "alone"],
)
def test_a_batch_norm_ends_in_the_weights_before_it(layers, inputs, left):
    model = settled(torch.nn.Sequential(*layers))
    assert simplified(model, torch.rand(inputs)) == left


def test_a_product_that_others_read_keeps_its_weights():
    class Shared(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 4, 1, bias=False), torch.nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    found = simplified(settled(Shared()), torch.rand(1, 3, 4, 4))
    assert found.count("conv2d") == 1
    assert "multiply" in found


def test_grouped_transposed_convolutions_are_left_alone():
    layers = [torch.nn.ConvTranspose2d(4, 4, 3, groups=2, bias=False), torch.nn.BatchNorm2d(4)]
    found = simplified(settled(torch.nn.Sequential(*layers)), torch.rand(1, 4, 5, 5))
    assert found == ["conv2d_transpose", "multiply", "add"]


def test_a_transformer_layer_keeps_two_axes_outside_of_attention():
    model, inputs = make("bert_base", small=True)
    found = simplified(model, *inputs)
    assert "attention" not in found
    assert found.count("softmax") == 1
    # tokens in; heads of query, key and value; attention out; the batch axis of the output
    assert found.count("reshape") == 6
    assert found.count("permute_dims") == 4


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_its_products(causal):
    class Attention(torch.nn.Module):
        def forward(self, q, k, v):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    q, k, v = torch.randn(3, 1, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    found = simplified(Attention(), q, k, v)
    assert found.count("matmul") == 2
    assert found.count("permute_dims") == 1


def test_masked_attention():
    class Attention(torch.nn.Module):
        def forward(self, q, k, v, mask):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 5, 4, generator=generator)
    mask = torch.randn(1, 2, 5, 5, generator=generator)
    assert simplified(Attention(), q, k, v, mask).count("matmul") == 2


@pytest.mark.parametrize(
    ("layer", "shape", "first"),
    [
        (torch.nn.ConvTranspose2d(3, 4, 4, 2, 1), (2, 3, 5, 6), "conv2d"),
        (torch.nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1), (1, 3, 5, 5), "conv2d"),
        (torch.nn.ConvTranspose2d(3, 4, 5, 3, 2), (1, 3, 4, 4), "conv2d"),
        (torch.nn.ConvTranspose2d(3, 4, (2, 5), (2, 1)), (1, 3, 4, 4), "conv2d"),
        (torch.nn.ConvTranspose2d(3, 4, 3, 1, 1), (1, 3, 4, 4), "conv2d"),
        (torch.nn.ConvTranspose1d(3, 4, 4, 2, 1), (1, 3, 7), "conv1d"),
        (torch.nn.ConvTranspose2d(3, 4, 4), (2, 3, 1, 1), "reshape"),
    ],
)
def test_a_transposed_convolution_multiplies_no_zeros(layer, shape, first):
    found = simplified(layer, torch.rand(shape))
    assert found[0] == first
    assert not any("transpose" in name for name in found)


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.ConvTranspose2d(4, 4, 3, 2, groups=2),
        torch.nn.ConvTranspose2d(4, 4, 3, 2, dilation=2),
        torch.nn.ConvTranspose2d(4, 4, 1, 2, 3),
    ],
    ids=["groups", "dilation", "cropped"],
)
def test_other_transposed_convolutions_stay(layer):
    assert simplified(layer, torch.rand(1, 4, 9, 9))[0] == "conv2d_transpose"


class Power(torch.nn.Module):
    def __init__(self, exponent):
        super().__init__()
        self.exponent = exponent

    def forward(self, x):
        return torch.pow(x.abs() if self.exponent % 1 else x, self.exponent)


@pytest.mark.parametrize(
    ("exponent", "left"),
    [
        (2.0, ["multiply"]),
        (3.0, ["multiply", "multiply"]),
        (4, ["multiply", "multiply"]),
        (5.0, ["power"]),
        (1.5, ["abs", "power"]),
    ],
)
def test_small_whole_powers_are_products(exponent, left):
    assert simplified(Power(exponent), torch.linspace(-3, 3, 12).reshape(3, 4)) == left


def test_small_whole_powers_of_integers_are_products():
    assert simplified(Power(3), torch.arange(-4, 4)) == ["multiply", "multiply"]


@pytest.mark.parametrize(("exponent", "left"), [(2, ["multiply"]), (3, ["power"]), (4, ["power"])])
def test_where_exactness_is_asked_for_only_squares_of_floats_are_products(exponent, left):
    assert simplified(Power(exponent), torch.rand(3, 4), exact=True) == left


def test_products_of_integers_are_exact():
    x = torch.arange(-4, 4)
    assert simplified(Power(3), x, exact=True) == ["multiply", "multiply"]


def test_reshapes_that_meet_become_one():
    class Shapes(torch.nn.Module):
        def forward(self, x):
            y = x.reshape(2, 12).tanh().reshape(4, 6).sigmoid()
            return y.reshape(4, 6).permute(1, 0).permute(1, 0)

    assert simplified(Shapes(), torch.rand(2, 3, 4)) == ["tanh", "sigmoid", "reshape"]


def test_a_sum_along_another_axis_waits_for_its_shape():
    class Sums(torch.nn.Module):
        def forward(self, x):
            return x.reshape(2, 6).sum(0, keepdim=True)

    assert simplified(Sums(), torch.rand(3, 4)) == ["reshape", "sum"]


def test_an_index_out_of_bounds_reads_the_last_row():
    table = torch.nn.Embedding(5, 3).eval()
    found = simplify(import_network(table, torch.tensor([0])).mod)
    (rows,) = relax_outputs(found, [np.array([99], dtype=np.int64)])
    np.testing.assert_array_equal(rows, table.weight[-1:].detach().numpy())
