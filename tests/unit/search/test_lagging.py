"""A slope that is worked out now and then."""

import numpy as np
import pytest
import torch

from mschedx.search.lagging import Lagging


def bowl(asked):
    def score(x, width):
        asked.append((x.detach().numpy().copy(), width))
        return -(x[:, :2].log2() - width).square().sum(dim=1)

    return score


def slope_of(score, values, width=0.5):
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    found = score(x, width)
    (slope,) = torch.autograd.grad(found.sum(), [x])
    return found.detach().numpy(), slope.numpy()


@pytest.mark.parametrize("every", [1, 2, 3])
def test_it_asks_at_every_so_manieth_call_and_is_right_there(every):
    asked = []
    lagging, plain = Lagging(bowl(asked), every), bowl([])
    for call in range(7):
        at = np.array([[2.0 + call, 8.0, 0.0]])
        value, slope = slope_of(lagging, at)
        if call % every == 0:
            wanted, direction = slope_of(plain, at)
            np.testing.assert_allclose(value, wanted)
            np.testing.assert_allclose(slope, direction)
    assert len(asked) == -(-7 // every)


def test_in_between_the_slope_by_logarithms_is_that_of_before():
    lagging = Lagging(bowl([]), 2)
    first, later = np.array([[2.0, 8.0, 0.0]]), np.array([[3.0, 5.0, 0.0]])
    _, before = slope_of(lagging, first)
    _, after = slope_of(lagging, later)
    np.testing.assert_allclose(after * later, before * first)
    assert (before[:, :2] != 0).all()
    # A choice of 0 has no logarithm and no slope.
    assert after[0, 2] == 0


def test_what_has_no_slope_moves_nothing_and_other_points_are_asked_for_anew():
    asked = []

    def flat(x, width):
        asked.append(len(x))
        return torch.zeros(len(x), dtype=torch.float64)

    lagging = Lagging(flat, 2)
    assert not slope_of(lagging, np.ones((1, 3)))[1].any()
    assert not slope_of(lagging, np.ones((4, 3)))[1].any()
    assert asked == [1, 4]
