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
