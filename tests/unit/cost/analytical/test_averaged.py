"""Slopes of averages, against averaging."""

import numpy as np
import pytest
import torch

from mschedx.cost.analytical.averaged import with_average_slope


def bumpy(x):
    """Steps and corners in two variables."""
    return np.ceil(np.log2(x[:, 0]) * 3) + np.maximum(x[:, 1], 5.0) * np.ceil(x[:, 0] / 4)


def averaged(x, column, width, points=200_001):
    """Mean of the function over a box along one variable, by adding up."""
    octaves = np.linspace(-width, width, points)
    around = np.repeat(x[None], points, axis=0)
    around[:, column] *= 2.0**octaves
    return bumpy(around).mean()


@pytest.mark.parametrize("width", [0.05, 0.25, 0.5])
def test_the_slope_is_that_of_the_average_over_the_box(width):
    x = np.array([[3.1, 4.9], [7.7, 6.0], [14.3, 2.0]])
    at = torch.tensor(x, requires_grad=True)
    value = with_average_slope(at, bumpy, width)
    np.testing.assert_allclose(value.detach().numpy(), bumpy(x))
    value.sum().backward()
    small = 1e-3
    for row in range(len(x)):
        for column in range(2):
            up, down = x[row].copy(), x[row].copy()
            up[column] *= 2.0**small
            down[column] *= 2.0**-small
            rise = averaged(up, column, width) - averaged(down, column, width)
            per_octave = rise / (2 * small)
            found = at.grad[row, column].item() * x[row, column] * np.log(2)
            assert found == pytest.approx(per_octave, rel=0.02, abs=0.02)


def test_a_linear_function_has_its_own_slope():
    at = torch.tensor([[2.0, 8.0, 3.0]], dtype=torch.float64, requires_grad=True)
    slopes = np.array([3.0, -0.5, 0.0])
    with_average_slope(at, lambda x: np.log2(x) @ slopes, 0.3).sum().backward()
    wanted = slopes / (at.detach().numpy()[0] * np.log(2))
    np.testing.assert_allclose(at.grad[0].numpy(), wanted, rtol=1e-9)


def test_along_the_decisions_that_are_named_it_is_the_same_and_elsewhere_zero():
    """And of no others the function is asked."""
    asked = []

    def counted(x):
        asked.append(len(x))
        return bumpy(x)

    slopes = []
    for along in (None, (1,)):
        at = torch.tensor([[3.1, 4.9, 1.0], [7.7, 6.0, 2.0]], requires_grad=True)
        with_average_slope(at, counted, 0.25, along).sum().backward()
        slopes.append(at.grad.numpy())
    assert np.array_equal(slopes[1][:, 1], slopes[0][:, 1])
    assert slopes[0][0, 1] != 0
    assert not slopes[1][:, [0, 2]].any()
    assert asked == [2 * 7, 2 * 3]


def test_where_a_decision_is_zero_there_is_no_slope():
    at = torch.tensor([[0.0, 2.0]], requires_grad=True)
    with_average_slope(at, lambda x: x.sum(axis=1), 0.25).sum().backward()
    assert at.grad[0, 0] == 0
    assert at.grad[0, 1] > 0


def test_a_step_within_reach_is_seen_one_beyond_it_is_not():
    def step(x):
        return (x[:, 0] > 4).astype(float)

    for start, seen in ((3.5, True), (2.0, False)):
        at = torch.tensor([[start]], requires_grad=True)
        with_average_slope(at, step, 0.25).sum().backward()
        assert bool(at.grad[0, 0] > 0) == seen


def test_without_decisions_there_is_a_value_and_no_slope():
    x = torch.empty((3, 0), dtype=torch.float64, requires_grad=True)
    value = with_average_slope(x, lambda configs: np.full(len(configs), 2.0), 0.25)
    value.sum().backward()
    assert value.tolist() == [2.0, 2.0, 2.0]
    assert x.grad.shape == (3, 0)
