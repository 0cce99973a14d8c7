"""Outputs that share memory do so as torch's, or are torch's."""

import pytest
import torch
from captured_graphs import OPTIONS

from mschedx.networks.torch_backend import backend


@pytest.fixture(autouse=True)
def nothing_is_measured(invented):
    """In any of these tests."""


def memory(tensors):
    """For each tensor, the first that lies in the same memory."""
    rooms = [one.untyped_storage().data_ptr() for one in tensors if torch.is_tensor(one)]
    return [rooms.index(one) for one in rooms]


def heads(x):
    """What attention with a cache returns: keys and values are parts of one product."""
    q, k, v = (x @ x.T).split(1, -1)
    return q + 1, k.view(-1, 1, 1).transpose(0, 1), v, x.shape[0]


def halves(x):
    y = x.relu()
    return y, y[1:], x[0], y.flatten()[: x.shape[0]], y.sum()


def written(x):
    y = x.clone()
    y[0] = 7.0
    return y[:2], y[1:], x.sum()


def drawn(x):
    values, places = torch.topk(x, 2)
    return values[0], values[1], places


def views_alone(x):
    return x.view(-1), x.T


@pytest.mark.parametrize(
    ("function", "tuned"),
    [(heads, True), (halves, True), (written, True), (drawn, True), (views_alone, False)],
)
def test_outputs_share_memory_as_torchs_do(invented, function, tuned):
    compiled = torch.compile(function, backend=backend, options=OPTIONS)
    for _ in range(2):
        x = torch.rand(3, 3)
        with torch.no_grad():
            expected, found = function(x), compiled(x)
        assert memory([x, *found]) == memory([x, *expected])
        torch.testing.assert_close(found, expected)
        for one, other in zip(found, expected):
            if torch.is_tensor(one):
                assert one.stride() == other.stride()
    assert len(invented) == tuned


def test_a_write_through_a_view_after_a_break_is_seen(invented):
    def function(cache, x):
        part = cache[:, :2]
        torch._dynamo.graph_break()
        part.copy_(x)
        return cache * 2

    compiled, x = torch.compile(function, backend=backend, options=OPTIONS), torch.rand(3, 2)
    with torch.no_grad(), pytest.warns(UserWarning, match=r"copy_ is left to torch"):
        found = compiled(torch.zeros(3, 4), x)
    torch.testing.assert_close(found, torch.nn.functional.pad(2 * x, (0, 2)))


def test_a_write_to_a_weight_that_is_returned_is_seen(invented):
    class Returned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(x), self.layer.weight.t()

    model = Returned().eval()
    with torch.no_grad():
        compiled = torch.compile(model, backend=backend, options=OPTIONS)
        compiled(torch.rand(2, 4))[1].fill_(3)
    assert (model.layer.weight == 3).all()
    assert len(invented) == 1


def mixed(x):
    y = x.clone()
    z = y.add_(1)
    return y[1:], z[:2]


def turned(x):
    y = x.T.relu()
    return y[0], y.T[0]


@pytest.mark.parametrize("function", [mixed, turned])
def test_outputs_that_share_memory_otherwise_are_torchs(invented, function):
    compiled, x = torch.compile(function, backend=backend, options=OPTIONS), torch.rand(3, 3)
    with torch.no_grad(), pytest.warns(UserWarning, match="share memory"):
        found = compiled(x)
    assert memory(found) == memory(function(x)) == [0, 0]
    assert not invented


def test_views_have_gradients():
    compiled = torch.compile(halves, backend=backend, options=OPTIONS)
    x = torch.rand(3, 3, requires_grad=True)
    with pytest.warns(UserWarning, match="gradients are asked for"):
        (compiled(x)[1].sum() + compiled(x)[2].sum()).backward()
    expected = torch.ones(3, 3)
    torch.testing.assert_close(x.grad, expected)
