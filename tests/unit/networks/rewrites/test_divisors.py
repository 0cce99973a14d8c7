"""Division of integers by every divisor, as NumPy."""

import numpy as np
import pytest
import tvm
from tvm import te, tirx

from mschedx.networks.rewrites.divisors import guard_divisors


def truncated(a, b):
    """The quotient that is nearer to zero, of whole numbers of any size."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


OPERATORS = {
    "floor quotient": (tirx.floordiv, lambda a, b: a // b),
    "floor remainder": (tirx.floormod, lambda a, b: a % b),
    "quotient": (tirx.truncdiv, truncated),
    "remainder": (tirx.truncmod, lambda a, b: a - b * truncated(a, b)),
}


def compiled(operator, dtype, size):
    a, b = (te.placeholder((size,), dtype, name=name) for name in "ab")
    c = te.compute((size,), lambda i: operator(a[i], b[i]), name="c")
    mod = tvm.IRModule({"main": te.create_prim_func([a, b, c])})
    return tvm.compile(guard_divisors(mod), target="llvm")


def pairs(dtype):
    """All pairs of some numbers, the least, the largest, zero and -1 among them."""
    info = np.iinfo(dtype)
    some = {info.min, info.min + 1, info.max, 0, 1, 2, 3, 7, 100}
    if info.min < 0:
        some |= {-1, -2, -3, -7, -100}
    grid = np.meshgrid(*2 * [np.array(sorted(some), dtype)])
    return [np.ascontiguousarray(one.ravel()) for one in grid]


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint32"])
@pytest.mark.parametrize("name", OPERATORS)
def test_no_divisor_ends_the_process(name, dtype):
    operator, expected = OPERATORS[name]
    a, b = pairs(dtype)
    output = tvm.runtime.empty(a.shape, dtype)
    compiled(operator, dtype, a.size)(tvm.runtime.tensor(a), tvm.runtime.tensor(b), output)
    exact = [0 if y == 0 else expected(x, y) for x, y in zip(a.tolist(), b.tolist())]
    bits = np.iinfo(dtype).bits
    wrapped = np.array([one % 2**bits for one in exact], f"uint{bits}").view(dtype)
    np.testing.assert_array_equal(output.numpy(), wrapped)


def test_floats_and_known_divisors_stay():
    a = te.placeholder((8,), "int32", name="a")
    x = te.placeholder((8,), "float32", name="x")
    c = te.compute((8,), lambda i: tirx.floordiv(a[i], 3) + a[tirx.floormod(i + 1, 8)], name="c")
    y = te.compute((8,), lambda i: x[i] / x[7 - i], name="y")
    mod = tvm.IRModule({"main": te.create_prim_func([a, x, c, y])})
    tvm.ir.assert_structural_equal(guard_divisors(mod), mod)
