"""A slice of benchmarks/cuda_executed.py: sampled configs are right, and free of faults."""

import numpy as np
import pytest
from cuda_sketches import cuda_sketches
from cuda_workloads import TARGET, WORKLOADS
from tvm.target import Target

from mschedx.emulator.check import check, reference
from mschedx.space import InvalidSchedule

SLICE = (
    "f16",
    "f16_100x72x40",
    "s8_nt",
    "tf32",
    "conv_3x3_s8",
    "cores_f32",
    "cores_conv2d",
    "cores_softmax",
    "tvm_wmma_f16",
)


@pytest.mark.parametrize("name", SLICE)
def test_sampled_configs(name, tmp_path):
    workload, target = WORKLOADS[name], Target(TARGET)
    rng = np.random.default_rng(0)
    expected = reference(workload.module(), rng)
    for sketch in cuda_sketches(name):
        (schedule,) = sketch.schedules(sketch.sample(1, rng))
        assert not isinstance(schedule, InvalidSchedule)
        checked = check(schedule.mod, target, expected, tmp_path)
        assert checked.wrong == ""
        assert [str(fault) for fault in checked.execution.faults] == []
