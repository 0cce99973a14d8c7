"""Operators of torch that are written with others of torch's."""

import numpy as np
import pytest
import torch
from imported_functions import IMAGE, MATRIX, OFFSET, VECTOR, imported


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
