"""Operators of torch that TVM's importer lacks or refuses."""

import numpy as np
import pytest
import torch
from tiny_networks import relax_outputs

from mschedx.networks.errors import UnsupportedOperators
from mschedx.networks.importing import read_network
from mschedx.networks.parts import tune_parts

IMAGE = torch.linspace(-2, 2, 2 * 4 * 6 * 7).reshape(2, 4, 6, 7).sin()
MATRIX, VECTOR, OFFSET = torch.randn(3, 5), torch.randn(5), torch.randn(3)


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


@pytest.mark.parametrize(
    ("function", "tensors"),
    [
        (lambda x: x.amax((2, 3)), [IMAGE]),
        (lambda x: x.amax(1, keepdim=True), [IMAGE]),
        (lambda x: x.amax(), [IMAGE]),
        (lambda x: x.amin(-1), [IMAGE]),
        (lambda x: x.amin(dim=(0, 1), keepdim=True), [IMAGE]),
        (lambda x: tuple(torch.aminmax(x)), [IMAGE]),
        (lambda x: x.logsumexp(1), [IMAGE]),
        (lambda x: x.prod(1), [IMAGE]),
        (lambda x: x.prod(2, keepdim=True), [IMAGE]),
        (lambda x: x.prod(0, dtype=torch.float64), [IMAGE]),
        (lambda x: x.prod(0), [torch.randint(-4, 5, (3, 5), dtype=torch.int32)]),
        (torch.exp2, [IMAGE]),
        (torch.exp2, [torch.arange(5)]),
        (torch.var_mean, [IMAGE]),
        (lambda x: torch.var_mean(x, (1, 2), correction=0, keepdim=True), [IMAGE]),
        (lambda x: torch.std_mean(x, 1), [IMAGE]),
        (torch.addmv, [OFFSET, MATRIX, VECTOR]),
        (lambda a, b, c: torch.addmv(a, b, c, beta=0.5, alpha=-2), [OFFSET, MATRIX, VECTOR]),
        (lambda a, b, c: torch.addmv(a, b, c, beta=0), [OFFSET / 0, MATRIX, VECTOR]),
        (lambda x: torch.nn.functional.unfold(x, 3), [IMAGE]),
        (lambda x: torch.nn.functional.unfold(x, (2, 3), 2, (1, 0), (1, 2)), [IMAGE]),
        (lambda x: torch.nn.functional.unfold(x, (1, 3), 1, 2, 2), [IMAGE[0]]),
    ],
)
def test_operators_that_are_written_with_others(function, tensors):
    found, expected = imported(function, *tensors)
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert str(one.dtype) == str(other.dtype).removeprefix("torch.")
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-6)


INTEGERS = torch.randint(-9, 9, (4, 6), generator=torch.Generator().manual_seed(0))
FULL = torch.arange(4, 16, dtype=torch.uint8).reshape(2, 6)
HEADS = torch.linspace(-3, 3, 2 * 4 * 5 * 8).reshape(2, 4, 5, 8).cos()
VISIBLE = torch.ones(5, 5).tril().bool()
GRID = torch.linspace(-1.2, 1.2, 2 * 3 * 5 * 2).reshape(2, 3, 5, 2).sin() * 1.2


def sdpa(q, k=None, v=None, **more):
    k = q if k is None else k
    return torch.nn.functional.scaled_dot_product_attention(q, k, k if v is None else v, **more)


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


def smoothed(x):
    return torch.nn.functional.interpolate(x, (3, 3), mode="bilinear", antialias=True)


def put(*places, accumulate=False):
    """What writes values to some places of an array."""

    def write(x, values):
        return torch.ops.aten.index_put(x, places, values, accumulate)

    return write


FRONT, BACK, PAIRS = torch.tensor([0, 2]), torch.tensor([-1, 1]), torch.tensor([[0, 3], [1, -2]])
CUBE = torch.linspace(-1, 1, 3 * 4 * 4).reshape(3, 4, 4)


@pytest.mark.parametrize(
    ("places", "shape"),
    [
        ([None, BACK], (3, 2, 4)),
        ([None, BACK], (2, 1)),
        ([None, BACK], ()),
        ([None, None, BACK], (3, 4, 2)),
        ([None, None, BACK], (4, 1)),
        ([None, None, PAIRS], (3, 4, 2, 2)),
        ([FRONT], (2, 4, 4)),
        ([FRONT, None, BACK], (2, 4)),
        ([None, FRONT, BACK], (3, 2)),
        ([FRONT, BACK, BACK], (2,)),
        ([FRONT, BACK, BACK], (1,)),
        ([PAIRS[:1, :1], PAIRS, FRONT], (2, 2)),
        ([torch.tensor(1), BACK, None], (2, 4)),
        ([torch.tensor(1), torch.tensor(-1)], (4,)),
        ([FRONT.int(), None], (2, 4, 4)),
    ],
)
def test_values_are_written_to_places(places, shape):
    values = torch.arange(2.0, 2.0 + torch.Size(shape).numel()).reshape(shape)
    (found,), (expected,) = imported(put(*places), CUBE, values)
    np.testing.assert_array_equal(found, expected.numpy())


def test_values_that_are_added_where_places_may_repeat_are_refused():
    """Threads add at the same time."""
    function = put(torch.zeros(8, dtype=torch.int64), accumulate=True)
    with pytest.raises(UnsupportedOperators, match=r"index_put\.default"):
        read_network(module(function), (CUBE[0, 0], torch.ones(8)))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("rows", [(2, 2, 4), (3, 4, 4), (2, 3, 2), (1, 1, 1), (3, 2, 3)], ids=str)
def test_values_are_scattered_among_fewer_rows_than_there_are(axis, rows):
    index = (torch.arange(torch.Size(rows).numel()) % 3).reshape(rows)
    extent = CUBE.shape[axis]
    index = (index + torch.arange(rows[axis]).reshape([-1, *[1] * (2 - axis % 3)])) % extent
    (found,), (expected,) = imported(lambda x, at: x.scatter(axis, at, 5.0), CUBE, index)
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_values_are_scattered_from_an_array_with_more_rows(axis):
    index = torch.arange(2).reshape([2 if at == axis else 1 for at in range(3)]).expand(2, 2, 2)
    (found,), (expected,) = imported(
        lambda x, at, values: x.scatter(axis, at, values), CUBE, index.contiguous(), CUBE + 9
    )
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [True, False])
def test_images_at_the_points_of_a_grid(mode, padding, corners):
    def sampled(x, grid):
        return torch.nn.functional.grid_sample(x, grid, mode, padding, align_corners=corners)

    (found,), (expected,) = imported(sampled, IMAGE, GRID)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize("shape", [(10, 10), (5, 7), (8, 3)], ids=str)
@pytest.mark.parametrize("factor", [2.05, 3.05, 1.05, 1.5, 2.0, 0.5, (2.05, 1.5)], ids=str)
def test_images_are_resized_by_the_factor_that_is_asked_for(factor, shape):
    """Not by the ratio of the sizes, of which the result's is a whole number."""
    image = torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))

    def resized(x):
        def to(mode, **how):
            return torch.nn.functional.interpolate(x, scale_factor=factor, mode=mode, **how)

        return (
            to("nearest"),
            to("nearest", recompute_scale_factor=True),
            to("bilinear"),
            to("bilinear", recompute_scale_factor=True),
            to("bilinear", align_corners=True),
        )

    found, expected = imported(resized, image)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-5, atol=1e-5)


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


TABLE = torch.linspace(-3, 3, 10 * 8).reshape(10, 8).sin()
BAGS = torch.tensor([[1, 2, 9], [4, 4, 0], [5, 3, 2], [7, 7, 7]])
FLAT, STARTS = BAGS.reshape(-1), torch.tensor([0, 0, 5, 11])


def bag(*args, **more):
    return torch.nn.functional.embedding_bag(*args, **more)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize(
    ("function", "tensors"),
    [
        (lambda mode: lambda i, w: bag(i, w, mode=mode), (BAGS, TABLE)),
        (lambda mode: lambda i, w: bag(i, w, mode=mode, padding_idx=7), (BAGS, TABLE)),
        (lambda mode: lambda i, w, s: bag(i, w, s, mode=mode), (FLAT, TABLE, STARTS)),
        (
            lambda mode: lambda i, w, s: bag(i, w, s, mode=mode, include_last_offset=True),
            (FLAT, TABLE, torch.tensor([0, 0, 5, 12])),
        ),
        (lambda mode: lambda i, w: bag(i, w, mode=mode), (BAGS.int(), TABLE.half())),
    ],
    ids=["rows", "padding", "offsets with an empty bag", "the last offset", "half precision"],
)
def test_rows_of_a_table_are_taken_together(function, tensors, mode):
    (found,), (expected,) = imported(function(mode), *tensors)
    rtol = 2e-3 if expected.dtype == torch.float16 else 1e-5
    assert str(found.dtype) == str(expected.dtype).removeprefix("torch.")
    np.testing.assert_allclose(found, expected.numpy(), rtol=rtol, atol=rtol)


def test_rows_of_a_table_have_weights():
    shares = torch.linspace(0, 1, 12).reshape(4, 3)
    (found,), (expected,) = imported(
        lambda i, w, s: bag(i, w, mode="sum", per_sample_weights=s), BAGS, TABLE, shares
    )
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
