"""A space is the same whatever seed it is made with: records of one run are found in another."""

import pytest
import tvm
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from mschedx import workloads
from mschedx.space import for_target
from mschedx.space.trace.design import Design

TARGET = Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})


def signatures(func, seed):
    context = ms.TuneContext(
        tvm.IRModule({"main": func}), target=TARGET, space_generator=for_target(TARGET),
        rand_state=seed, num_threads=1,
    )  # fmt: skip
    designs = context.generate_design_space()
    return [Design.from_schedule(sch, context.mod, TARGET).signature for sch in designs]


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        ("gemm", (64, 96, 80)),
        ("gemm_nt", (60, 96, 80)),
        ("conv2d", (1, 16, 14, 14, 32, 3, 1, 1)),
        ("conv2d", (1, 16, 28, 28, 32, 3, 2, 1)),
        ("conv2d_nhwc", (1, 14, 14, 16, 32, 3, 1, 1)),
        ("depthwise_conv2d", (1, 16, 28, 28, 3, 1, 1)),
        ("softmax", (32, 96)),
        ("mean", (8, 96)),
        ("gemv", (64, 96)),
    ],
)
def test_structures_do_not_depend_on_the_seed(op, shape):
    func = workloads.make(op, shape)
    first = signatures(func, 1)
    assert all(signatures(func, seed) == first for seed in (7, 12345, 99991, 424242))
