"""What of torch is refused, or left to it, rather than read wrongly."""

import numpy as np
import pytest
import torch
from imported_functions import HEADS, IMAGE, OFFSET, VISIBLE, imported, module, sdpa
from tiny_networks import relax_outputs

from mschedx.networks.errors import UnsupportedOperators
from mschedx.networks.importing import read_network
from mschedx.networks.parts import tune_parts


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (
            lambda x: torch.nn.functional.interpolate(x, (3, 3), mode="bilinear", antialias=True),
            "aa",
        ),
        (lambda x: x[x > 0], "index.Tensor"),
        (lambda x: 2 ** x.long(), "pow.Scalar"),
        (lambda x: sdpa(x, attn_mask=VISIBLE, dropout_p=0.5), "scaled_dot_product_attention"),
        (lambda x: sdpa(x[:1], x), "scaled_dot_product_attention"),
        (
            lambda x: torch.nn.functional.avg_pool2d(x, 3, 2, ceil_mode=True, divisor_override=5),
            "avg_pool2d",
        ),
    ],
)
def test_what_cannot_be_read_rightly_is_refused(function, operator):
    tensor = IMAGE[..., :6].clone() if operator in ("aa", "avg_pool2d") else HEADS
    with pytest.raises(UnsupportedOperators) as raised:
        read_network(module(function), tensor)
    assert operator in str(raised.value)


def between_batches(x):
    y = torch.nn.functional.conv2d(x, torch.ones(4, 4, 3, 3))
    return sdpa(sdpa(y)[:1], y)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (torch.linalg.inv, r"operators linalg_inv\.default of"),
        (lambda x: torch.linalg.solve(x, x + 1), r"operators linalg_solve\.default of"),
        (lambda x: torch.linalg.cholesky(x @ x.mT), r"operators linalg_cholesky\.default of"),
        (lambda x: torch.linalg.matrix_power(x, -2), r"operators linalg_matrix_power\.default of"),
        (lambda x: torch.linalg.lu_factor(x)[0], r"operators linalg_lu_factor\.default of"),
    ],
)
def test_factorisations_are_named_whole(function, said):
    with pytest.raises(UnsupportedOperators, match=said):
        read_network(module(function), torch.eye(4) + 1)


def test_a_call_that_the_importer_refuses_for_its_shapes_is_named_with_them():
    with pytest.raises(UnsupportedOperators) as raised:
        read_network(module(between_batches), IMAGE)
    shapes = "[1, 4, 4, 5], [2, 4, 4, 5]"
    assert raised.value.operators == (f"scaled_dot_product_attention.default({shapes})",)
    assert "between batches" in raised.value.reason


def test_only_calls_of_these_shapes_are_left_to_torch():
    target = {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}
    found = tune_parts(module(between_batches), IMAGE, target, trials_per_task=0, progress=False)
    assert found.verified
    (result,) = found.results.values()
    assert [choice.task.name for choice in result.tasks if "conv2d" in choice.task.name]


def test_places_of_maxima_which_the_importer_makes_zeros_are_refused_where_they_are_read():
    def both(x):
        return torch.nn.functional.max_pool2d(x, 2, return_indices=True)

    with pytest.raises(UnsupportedOperators) as raised:
        read_network(module(both), IMAGE)
    assert raised.value.operators == ("max_pool2d_with_indices.default([2, 4, 6, 7])",)
    found, (expected, _) = imported(lambda x: (both(x)[0], x), IMAGE)
    np.testing.assert_array_equal(found[0], expected.numpy())


def test_effects_are_refused():
    def printed(x):
        torch.ops.aten._print("x")
        return x + 1

    with pytest.raises(UnsupportedOperators, match=r"_print.*leave these out"):
        read_network(module(printed), IMAGE)


F = torch.nn.functional
ROWS = torch.linspace(-1, 1, 12).reshape(3, 4)


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: F.dropout(x, 0.5), "native_dropout.default([3, 4])"),
        (lambda x: F.dropout(x, 1.0), "native_dropout.default([3, 4])"),
        (lambda x: torch.native_dropout(x, 0.5, None)[0], "native_dropout.default([3, 4])"),
        (lambda x: F.alpha_dropout(x, 0.5, True), "bernoulli.p([3, 4])"),
        (lambda x: F.dropout1d(x, 0.5), "bernoulli.p([1, 3, 1])"),
        (lambda x: torch.bernoulli(x, 0.5), "bernoulli.p([3, 4])"),
        (lambda x: torch.bernoulli(x, 0.0), "bernoulli.p([3, 4])"),  # zeros, not x
        (lambda x: x + torch.randn(3, 4), "randn.default()"),
        (lambda x: x + torch.randn_like(x), "randn_like.default([3, 4])"),
        (lambda x: x + torch.rand(3, 4), "rand.default()"),
        (lambda x: x + torch.empty(3, 4).exponential_(), "exponential.default([3, 4])"),
        (lambda x: F.gumbel_softmax(x), "exponential.default([3, 4])"),
        (
            lambda x: F.rrelu(x, training=True),
            "rrelu_with_noise_functional.default([3, 4], [3, 4])",
        ),
    ],
)
def test_random_numbers_are_refused(function, operator):
    with pytest.raises(UnsupportedOperators) as raised:
        read_network(module(function), ROWS)
    assert raised.value.operators == (operator,)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.dropout(x, 0.5, False) + 1,
        lambda x: F.dropout(x, 0.0) + 1,
        lambda x: torch.native_dropout(x, 0.5, False)[0] + 1,
        lambda x: torch.native_dropout(x, 0.0, True)[0] + 1,
        lambda x: F.alpha_dropout(x, 0.5) + 1,
        lambda x: sdpa(x[None, None], dropout_p=0.0),
    ],
)
def test_dropout_that_drops_nothing_is_imported(function):
    (found,), (expected,) = imported(function, ROWS)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: torch.nn.functional.dropout(x, 0.5) + 1, "native_dropout"),
        (lambda x: x + x.long().pow(x.long()), "pow.Tensor_Tensor"),
        (torch.special.i0, "i0"),
    ],
)
def test_branches_are_looked_at(function, operator):
    def branching(x):
        return torch.cond(x.sum() > 0, function, lambda x: x * 2, (x,))

    with pytest.raises(UnsupportedOperators) as raised:
        read_network(module(branching), (OFFSET,))
    assert operator in raised.value.operators[0]


def test_what_dropout_has_kept_is_refused_where_it_is_read():
    with pytest.raises(UnsupportedOperators) as raised:
        read_network(module(lambda x: torch.native_dropout(x, 0.5, False)), ROWS)
    assert raised.value.operators == ("native_dropout.default([3, 4])",)


def test_a_recurrent_network_in_inference_mode_draws_nothing():
    layer = torch.nn.LSTM(4, 4, 2, dropout=0.5, batch_first=True).eval()
    network = read_network(layer, ROWS[None])
    found = relax_outputs(network.mod, [ROWS[None].numpy()])
    with torch.no_grad():
        output, state = layer(ROWS[None])
    for one, other in zip(found, (output, *state)):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-6)
