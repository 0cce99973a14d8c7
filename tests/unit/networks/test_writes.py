"""Writes to some places of an array."""

import numpy as np
import pytest
import torch
from imported_functions import imported, module

from mschedx.networks.errors import UnsupportedOperators
from mschedx.networks.importing import read_network


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
