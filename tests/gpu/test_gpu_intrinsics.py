"""Every tensor-core intrinsic computes on the device what NumPy computes, to the bit."""

import numpy as np
import pytest

from mschedx.intrinsics.cuda import INTRINSICS

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("in_dtype", sorted({one.in_dtype for one in INTRINSICS}))
def test_intrinsics_equal_numpy(checker, in_dtype):
    from gpu_checks import intrinsic_case, intrinsic_keys

    cases = {
        key: intrinsic_case(checker, one, way)
        for key, (one, way) in intrinsic_keys(checker.target).items()
        if one.in_dtype == in_dtype
    }
    assert cases
    wrong = [record for record in checker.run(cases) if not record["ok"]]
    assert not wrong


def test_a_wrong_result_is_found(checker):
    from cuda_gemm import tensor_core_gemm
    from gpu_checks import Case, exact_product, intrinsic_keys

    intrinsic, _ = next(iter(intrinsic_keys(checker.target).values()))
    m, n, k = intrinsic.shape
    sizes = 4 * max(m, 32), 4 * max(n, 32), 8 * k
    before, after = exact_product(sizes, intrinsic, np.random.default_rng(0))
    after[2][3, 5] += 1
    case = Case(tensor_core_gemm(*sizes, intrinsic), checker.store(before, after), 0.0)
    (record,) = checker.run({"wrong": case})
    assert not record["ok"]
    assert record["reason"].startswith("1 of ")
