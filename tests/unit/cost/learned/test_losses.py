"""LambdaRank: pruner.md section 8, fact 13; comparisons stay within a task."""

import pytest
import torch

from mschedx.cost.learned.losses import lambda_rank


def loss(scores, labels, groups=None):
    groups = None if groups is None else torch.tensor(groups)
    return lambda_rank(torch.tensor(scores), torch.tensor(labels), groups)


@pytest.mark.parametrize(
    ("scores", "value"), [((0.2, 0.8, 0.5), 0.468794), ((0.9, 0.5, 0.1), 0.294157)]
)
def test_published_values(scores, value):
    """Fact 13."""
    assert float(loss(scores, (1.0, 0.5, 0.25))) == pytest.approx(value, abs=1e-6)


def test_programs_of_different_tasks_are_not_compared():
    one, other = loss((0.2, 0.8, 0.5), (1.0, 0.5, 0.25)), loss((0.9, 0.5), (0.3, 1.0))
    mixed = loss((0.2, 0.9, 0.8, 0.5, 0.5), (1.0, 0.3, 0.5, 0.25, 1.0), (0, 1, 0, 0, 1))
    assert float(mixed) == pytest.approx(float(one + other), rel=1e-6)
    assert float(loss((0.2, 0.9), (1.0, 0.1), (0, 1))) == 0.0


def test_gradient_lifts_the_faster_and_lowers_the_slower():
    scores = torch.tensor([0.0, 0.1, 0.2], requires_grad=True)
    lambda_rank(scores, torch.tensor([1.0, 0.5, 0.0])).backward()
    assert scores.grad[0] < 0 < scores.grad[2]


def test_a_batch_of_equal_labels_says_nothing():
    scores = torch.tensor([0.3, 0.1], requires_grad=True)
    lambda_rank(scores, torch.zeros(2)).backward()
    assert scores.grad.abs().sum() == 0


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"expected scores \[n\] and labels \[n\], got \(2,\)"):
        lambda_rank(torch.zeros(2), torch.zeros(3))
