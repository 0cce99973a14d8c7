"""Kernels beside others: one set of inputs for all, the peak apart."""

from types import SimpleNamespace

import numpy as np
import pytest

from mschedx.bench import beside
from mschedx.workloads import Workload


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("mschedx.bench.fair.compat.SETTLE_S", 0.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_kernels_get_inputs_and_an_output_in_the_workloads_dtypes(dtype):
    workload, seen = Workload("w", "gemm", (4, 5, 6), dtype), []

    def kernel(*tensors):
        seen.append([(tuple(one.shape), str(one.dtype)) for one in tensors])

    found = beside.compared(workload, {"ours": kernel})
    assert list(found.seconds) == ["ours"]
    assert found.peak_flops is None
    wanted = [(tuple(int(n) for n in p.shape), str(p.dtype)) for p in workload.func().params]
    assert seen[0] == wanted


def test_the_peak_is_a_rate_and_no_contender():
    peak = SimpleNamespace(flops=1e6, call=lambda: lambda: None)
    torch = SimpleNamespace(timer=lambda workload: lambda number: 2e-3)
    workload = Workload("w", "gemm", (8, 8, 8), "float32")
    found = beside.compared(workload, {"ours": lambda *_: None}, peak=peak, torch=torch)
    assert list(found.seconds) == ["ours", "NumPy", "torch"]
    assert found.seconds["torch"] == 2e-3
    assert found.peak_flops > 0
    assert np.isfinite(found.peak_flops)
