"""Roles of a contraction's axes."""

import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.testing import te_workload

from mschedx.space.rules.contraction import match_contraction


def match(name, *args, block):
    function = te.create_prim_func(list(getattr(te_workload, name)(*args)))
    sch = Schedule(tvm.IRModule({"main": function}))
    return match_contraction(sch.get(sch.get_sblock(block)))


@pytest.mark.parametrize(
    ("name", "args", "block", "vector", "batch", "rows", "reductions"),
    [
        ("matmul", (32, 64, 16), "C", 1, (), (0,), (2,)),
        ("batch_matmul_nkkm", (3, 32, 64, 16), "Z", 2, (0,), (1,), (3,)),
        ("conv1d_nlc", (1, 32, 8, 16, 3), "conv1d_nlc", 2, (), (0, 1), (3, 4)),
        ("conv2d_nhwc", (1, 8, 8, 8, 16, 3, 1, 1), "conv2d_nhwc", 3, (), (0, 1, 2), (4, 5, 6)),
        ("conv2d_nchw", (1, 8, 8, 8, 16, 3, 3, 1, 1), "conv2d_nchw", 1, (), (0, 2, 3), (4, 5, 6)),
        ("conv3d_ndhwc", (1, 4, 8, 8, 4, 8, 3), "conv3d_ndhwc", 4, (), (0, 1, 2, 3), (5, 6, 7, 8)),
    ],
)
def test_roles(name, args, block, vector, batch, rows, reductions):
    found = match(name, *args, block=block)
    assert (found.vector, found.batch, found.rows, found.reductions) == (
        vector,
        batch,
        rows,
        reductions,
    )


def test_the_vector_axis_is_contiguous_in_the_output_if_it_can_be():
    found = match("matmul", 64, 16, 32, block="C")
    assert found.output_plain[found.vector] == found.output_plain[-1]


@pytest.mark.parametrize(
    ("name", "args", "block"),
    [
        ("softmax_mn", (8, 8), "T_softmax_expsum"),
        ("depthwise_conv2d_nhwc", (1, 8, 8, 8, 3), "depth_conv2d_nhwc"),
        ("max_pool2d_nchw", (1, 8, 8, 8, 1), "pool_max"),
        ("conv2d_nhwc", (1, 8, 8, 8, 16, 3, 1, 1), "PadInput"),
    ],
)
def test_what_is_no_contraction(name, args, block):
    assert match(name, *args, block=block) is None


def test_a_square_of_one_operand_is_no_contraction():
    a = te.placeholder((8, 16), name="A")
    k = te.reduce_axis((0, 16), name="k")
    c = te.compute((8,), lambda i: te.sum(a[i, k] * a[i, k], axis=k), name="C")
    sch = Schedule(tvm.IRModule({"main": te.create_prim_func([a, c])}))
    assert match_contraction(sch.get(sch.get_sblock("C"))) is None


def test_whole_vectors_come_before_contiguous_ones():
    def pointwise(size):
        return match("conv2d_nchw", 1, size, size, 8, 64, 1, 1, 1, 0, block="conv2d_nchw")

    assert pointwise(7).vector == 1, "a 7-wide image is no vector, 64 channels are"
    assert pointwise(32).vector == 3, "a 32-wide image is two, and contiguous"
