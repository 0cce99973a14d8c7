"""What statements and the analytical model say of tensor-core products is what is executed."""

import numpy as np
import pytest
from cuda_counts import ratios
from cuda_sketches import cuda_sketches
from cuda_workloads import TARGET, WORKLOADS
from tvm.target import Target

from mschedx.emulator.check import reference


@pytest.mark.parametrize("name", ["f16", "s8_nt"])
def test_operations_bytes_and_passes(name):
    workload, target = WORKLOADS[name], Target(TARGET)
    expected = reference(workload.module(), np.random.default_rng(0))
    found = ratios(cuda_sketches(name), target, expected, 4)
    for quantity in (
        "operations of tensor cores",
        "sectors of L2",
        "bytes that warps load",
        "passes of warps' loads",
    ):
        np.testing.assert_allclose(found[quantity], 1, err_msg=quantity)
    # Threads beyond what there is to copy count as copying.
    assert min(found["bytes written to shared memory"]) == 1


def test_sectors_on_cuda_cores():
    """Rows that one step reads, and results of threads that lie apart, decide the sectors."""
    workload, target = WORKLOADS["cores_f32"], Target(TARGET)
    expected = reference(workload.module(), np.random.default_rng(0))
    found = ratios(cuda_sketches("cores_f32"), target, expected, 6)["sectors of L2"]
    assert np.median(found) == 1
    assert max(found) == 1
