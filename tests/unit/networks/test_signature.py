"""Arguments that are part of a network."""

import math

import numpy as np
import pytest
import torch

from mschedx.networks.signature import Signature


def signature(value):
    return Signature((), lambda args, kwargs: args, lambda outputs: outputs, {0: value})


@pytest.mark.parametrize("value", [None, 2, 0.5, math.nan, "same", (1, 2)])
def test_an_argument_that_is_no_tensor_has_to_stay_what_it_was(value):
    assert signature(value).tensors((value,), {}) == []
    for other in (3, np.ones(2), torch.ones(2), "other"):
        with pytest.raises(ValueError, match=r"argument 0 was .*tune it again with that value"):
            signature(value).tensors((other,), {})


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (3, 3.0),
        (3.0, 3),
        (1, True),
        (True, 1),
        (0.0, False),
        (3, np.array([3])),
        (3, np.int64(3)),
        (3, torch.tensor(3)),
        (math.nan, np.array(math.nan)),
    ],
)
def test_what_is_equal_and_of_another_type_is_another_argument(value, other):
    """Torch gives ``x * 3`` and ``x * 3.0`` of integers different dtypes."""
    with pytest.raises(ValueError, match="tune it again with that value"):
        signature(value).tensors((other,), {})
