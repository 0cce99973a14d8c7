"""Small floats, byte products, shuffles and vector types against NumPy."""

import ml_dtypes
import numpy as np
import pytest
from cuda_kernels import execute_kernel, kernel, poisoned

BF16 = np.dtype(ml_dtypes.bfloat16)
TYPES = {"half": np.dtype("float16"), "nv_bfloat16": BF16}


def conversions(element):
    return kernel(
        f"int i = blockIdx.x * 256 + threadIdx.x; F[i] = (float)S[i]; T[i] = ({element})W[i];",
        f"{element}* S, float* F, float* W, {element}* T",
        name=f"convert_{element}",
    ) + kernel(
        "int i = blockIdx.x * 256 + threadIdx.x;"
        "R[i] = A[i] + B[i]; R[65536 + i] = A[i] - B[i];"
        "R[131072 + i] = A[i] * B[i]; R[196608 + i] = A[i] / B[i];",
        f"{element}* A, {element}* B, {element}* R",
        name=f"compute_{element}",
    )


SOURCE = "".join(conversions(element) for element in TYPES)
EVERY = np.arange(65536, dtype="uint16")


def same(found, expected):
    found, expected = found.astype("float32"), expected.astype("float32")
    np.testing.assert_array_equal(found, expected)  # NaN meets NaN
    assert (np.signbit(found) == np.signbit(expected))[~np.isnan(expected)].all()


@pytest.mark.parametrize("element", TYPES)
def test_conversions_of_every_value_and_of_what_lies_between(element):
    dtype, rng = TYPES[element], np.random.default_rng(0)
    small = EVERY.view(dtype)
    # Ties, their neighbours, and floats of every exponent.
    ties = (small.astype("float32").view("uint32") | rng.integers(0, 1 << 17, 65536)).astype(
        "uint32"
    )
    half_way = small.astype("float32").view("uint32") + (0x1000 if element == "half" else 0x8000)
    wide = np.where(EVERY % 2, ties, half_way.astype("uint32")).view("float32")
    arrays = [small, poisoned(65536, "float32"), wide, poisoned(65536, dtype)]
    done = execute_kernel(
        SOURCE, arrays, name=f"convert_{element}", grid=(256, 1, 1), block=(256, 1, 1)
    )
    same(done.arrays[1], small.astype("float32"))
    with np.errstate(all="ignore"):
        same(done.arrays[3], wide.astype(dtype))


@pytest.mark.parametrize("element", TYPES)
def test_arithmetic_rounds_once(element):
    dtype, rng = TYPES[element], np.random.default_rng(0)
    a = rng.permutation(EVERY).view(dtype)
    b = rng.permutation(EVERY).view(dtype)
    arrays = [a, b, poisoned((4, 65536), dtype)]
    done = execute_kernel(
        SOURCE, arrays, name=f"compute_{element}", grid=(256, 1, 1), block=(256, 1, 1)
    )
    with np.errstate(all="ignore"):
        x, y = a.astype("float64"), b.astype("float64")
        for found, expected in zip(done.arrays[2], (x + y, x - y, x * y, x / y), strict=True):
            # Rounding to float32 on the way changes nothing: see small_floats.h.
            same(found, expected.astype("float32").astype(dtype))


def test_dot_of_bytes():
    body = """
  int i = threadIdx.x, d;
  R[i] = __dp4a(A[i], B[i], C[i]);
  R[32 + i] = (int)__dp4a((unsigned)A[i], (unsigned)B[i], (unsigned)C[i]);
  asm volatile ("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(A[i]), "r"(B[i]), "r"(C[i]));
  R[64 + i] = d;
  asm volatile ("dp4a.s32.u32 %0, %1, %2, %3;" : "=r"(d) : "r"(A[i]), "r"(B[i]), "r"(C[i]));
  R[96 + i] = d;
"""
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(-(2**31), 2**31, 32).astype("int32") for _ in range(3))
    done = execute_kernel(
        kernel(body, "int* A, int* B, int* C, int* R"), [a, b, c, poisoned(128, "int32")]
    )
    for i, (left, right) in enumerate(
        (("int8",) * 2, ("uint8",) * 2, ("uint8", "int8"), ("int8", "uint8"))
    ):
        x, y = (v.view(t).reshape(32, 4).astype("int64") for v, t in ((a, left), (b, right)))
        expected = (c + (x * y).sum(1)).astype("int32")
        np.testing.assert_array_equal(done.arrays[3][32 * i : 32 * i + 32], expected)


def test_shuffles():
    body = """
  int t = threadIdx.x, m = 0xffffffff;
  R[t] = __shfl_sync(m, t, 3, 32);
  R[32 + t] = __shfl_sync(m, t, 3, 8);
  R[64 + t] = __shfl_down_sync(m, t, 4, 16);
  R[96 + t] = __shfl_up_sync(m, t, 4, 16);
  R[128 + t] = __shfl_xor_sync(m, t, 5, 32);
"""
    found = (
        execute_kernel(kernel(body, "int* R"), [poisoned(160, "int32")]).arrays[0].reshape(5, 32)
    )
    t = np.arange(32)
    down, up = t + 4, t - 4
    expected = [
        np.full(32, 3),
        t // 8 * 8 + 3,
        np.where(down // 16 == t // 16, down, t),
        np.where((up >= 0) & (up // 16 == t // 16), up, t),
        t ^ 5,
    ]
    np.testing.assert_array_equal(found, expected)


def test_active_lanes_are_those_that_come():
    body = """
  int t = threadIdx.x;
  if (t < 8) { unsigned m = __activemask(); R[t] = __shfl_sync(m, t, 1, 32) + 100 * (m == 0xff); }
  else R[t] = __activemask() == 0xffffff00u;
"""
    found = execute_kernel(kernel(body, "int* R"), [poisoned(32, "int32")]).arrays[0]
    assert found.tolist() == [101] * 8 + [1] * 24


def test_of_a_number_and_nan_the_number():
    body = "D[0] = max(A[0], A[1]); D[1] = min(A[1], A[0]); D[2] = max(A[0], -A[0]);"
    arrays = [np.array([2, np.nan], "float32"), poisoned(3, "float32")]
    done = execute_kernel(kernel(body, "float* A, float* D"), arrays, block=(1, 1, 1))
    assert done.arrays[1].tolist() == [2, 2, 2]


def test_the_coordinates_of_every_thread():
    body = """
  int b = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  int t = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  D[b * blockDim.x * blockDim.y * blockDim.z + t] = b * 1000 + t;
"""
    done = execute_kernel(
        kernel(body, "int* D"), [poisoned(24 * 30, "int32")], grid=(2, 3, 4), block=(3, 5, 2)
    )
    expected = np.arange(24)[:, None] * 1000 + np.arange(30)
    np.testing.assert_array_equal(done.arrays[0].reshape(24, 30), expected)
