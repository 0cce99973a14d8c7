"""Constants are read where they lie, and written once."""

import ml_dtypes
import numpy as np
import pytest
from tvm import relax

from mschedx.networks.rewrites.graph import constant, constant_of, product_of

BFLOAT16 = ml_dtypes.bfloat16


def test_a_constant_is_not_copied_and_cannot_be_written():
    expr = relax.const(np.arange(6, dtype="float32").reshape(2, 3))
    first, second = constant(expr), constant(expr)
    assert first.ctypes.data == second.ctypes.data
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 7


def test_its_memory_outlives_the_expression():
    array = constant(relax.const(np.arange(1000, dtype="float32")))
    others = [relax.const(np.zeros(1000, "float32")) for _ in range(8)]
    np.testing.assert_array_equal(array, np.arange(1000))
    assert others


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn"])
def test_a_constant_without_axes_gets_none(dtype):
    expr = constant_of(np.array(2.0), dtype)
    assert constant(expr).shape == ()
    assert constant(expr).astype(float) == 2


def test_anything_else_is_no_constant():
    assert constant(relax.Var("x", relax.TensorType((2,), "float32"))) is None


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool", "bfloat16"])
def test_a_constant_of_any_strides(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(BFLOAT16 if dtype == "bfloat16" else dtype)
    found = constant_of(array.transpose(2, 0, 1), dtype)
    assert str(found.ty.dtype) == dtype
    np.testing.assert_array_equal(constant(found), array.transpose(2, 0, 1))


def test_a_constant_is_converted():
    found = constant_of(np.array([0.1, 1e-9], dtype="float64"), "float32")
    np.testing.assert_array_equal(constant(found), np.array([0.1, 1e-9], dtype="float32"))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16])
def test_products_are_rounded_once(dtype):
    rng = np.random.default_rng(0)
    array = rng.uniform(-1, 1, (64, 33)).astype(dtype)
    factor = rng.uniform(-1, 1, (64, 1))
    right = (array.astype(np.float64) * factor).astype(dtype)
    np.testing.assert_array_equal(constant(product_of(array, factor)), right)
    twice = (array * factor.astype(dtype)).astype(dtype)
    assert (twice != right).any()
