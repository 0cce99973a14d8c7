"""Tensors as arrays and back, in dtypes that NumPy has only by ml_dtypes too."""

import ml_dtypes
import numpy as np
import pytest
import torch
import tvm

from mschedx.measure.timing import numpy_dtype
from mschedx.networks.arrays import array_of, tensor_of

DTYPES = ["bool", "int8", "int64", "float16", "float32", "bfloat16", "float8_e4m3fn", "float8_e5m2"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (3, 2)])
def test_there_and_back(dtype, shape):
    tensor = (torch.arange(3)[:, None].expand(3, 2) % 2).to(getattr(torch, dtype))
    tensor = torch.empty(shape, dtype=tensor.dtype) if shape != (3, 2) else tensor.T.contiguous().T
    array = array_of(tensor)
    assert array.dtype == numpy_dtype(dtype)
    assert array.shape == shape
    back = tensor_of(array)
    assert back.dtype == tensor.dtype
    if shape == (3, 2):
        np.testing.assert_array_equal(array.astype(np.int64), [[0, 0], [1, 1], [0, 0]])
        assert torch.equal(back.float(), tensor.float())


def test_complex_numbers_which_only_the_framework_has():
    assert array_of(torch.ones(2, dtype=torch.complex64)).dtype == np.complex64


def test_parameters_and_tensors_of_others():
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    assert array_of(weight).dtype == ml_dtypes.bfloat16
    rows = np.arange(3)
    assert array_of(rows) is rows
    np.testing.assert_array_equal(array_of(tvm.runtime.tensor(rows)), rows)
