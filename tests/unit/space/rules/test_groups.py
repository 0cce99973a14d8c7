"""Groups of convolutions: found where they are, and tiled as the products that they are."""

import numpy as np
import pytest
import tvm
from agreement import assert_sketches_agree, drawn
from tvm import te, tirx, topi
from tvm.s_tir import Schedule
from tvm.target import Target
from unoptimised import run_once

from mschedx import workloads
from mschedx.space.rules.contraction import find_contraction
from mschedx.space.rules.groups import Groups, groups_of, split_groups

TARGET = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})


def channels_first(groups, per_group, filters, size, kernel, *, relu=False, stride=1):
    """Each group has so many channels and filters."""
    x = te.placeholder((2, groups * per_group, size, size), "float32", "X")
    w = te.placeholder((groups * filters, per_group, kernel, kernel), "float32", "W")
    y = topi.nn.group_conv2d_nchw(x, w, stride, kernel // 2, 1, groups)
    return te.create_prim_func([x, w, positive(y) if relu else y])


def channels_last(groups, per_group, filters, size, *, relu=False):
    x = te.placeholder((1, size, size, groups * per_group), "float32", "X")
    w = te.placeholder((3, 3, per_group, groups * filters), "float32", "W")
    a, b = te.reduce_axis((0, 3), "a"), te.reduce_axis((0, 3), "b")
    c = te.reduce_axis((0, per_group), "c")

    def product(n, i, j, o):
        return te.sum(
            x[n, i + a, j + b, o // filters * per_group + c] * w[a, b, c, o], axis=[a, b, c]
        )

    y = te.compute((1, size - 2, size - 2, groups * filters), product, name="conv")
    return te.create_prim_func([x, w, positive(y) if relu else y])


def summed(groups, per_group, filters, size):
    """What follows sums over the channels."""
    x = te.placeholder((1, groups * per_group, size, size), "float32", "X")
    w = te.placeholder((groups * filters, per_group, 3, 3), "float32", "W")
    y = topi.nn.group_conv2d_nchw(x, w, 1, 1, 1, groups)
    return te.create_prim_func([x, w, topi.sum(y, axis=1)])


def positive(y):
    return te.compute(y.shape, lambda *i: te.max(y[i], tirx.const(0.0, "float32")), name="relu")


FUNCTIONS = {
    "channels-first": channels_first(2, 4, 8, 8, 3),
    "channels-first-relu": channels_first(3, 2, 5, 7, 3, relu=True),
    "channels-first-strided": channels_first(2, 4, 8, 9, 3, stride=2),
    "channels-first-no-window": channels_first(4, 8, 8, 6, 1),
    "channels-first-summed": summed(2, 4, 8, 6),
    "channels-last": channels_last(2, 4, 16, 8),
    "channels-last-relu": channels_last(4, 4, 8, 10, relu=True),
}


def opened(function):
    sch = Schedule(tvm.IRModule({"main": function}))
    reducing = [block for block in blocks_of(sch) if sch.get(block).init is not None]
    return sch, reducing[0]


def blocks_of(sch):
    function = next(iter(sch.mod.functions.values()))
    return list(sch.get_child_blocks(sch.get_sblock(function.body.block.name_hint)))


def computed(mod, inputs):
    return run_once(mod, TARGET, inputs)[-1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_sketch_computes_the_same(name):
    assert_sketches_agree(FUNCTIONS[name], TARGET, configs=3)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_split_groups_compute_the_same(name):
    sch, block = opened(FUNCTIONS[name].with_attr("global_symbol", "main"))
    split = split_groups(sch, block)
    inputs = drawn(sch.mod, np.random.default_rng(0))
    before, after = computed(sch.mod, inputs), computed(split.mod, inputs)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


def test_groups_are_read_off_the_index():
    sch, block = opened(FUNCTIONS["channels-first"])
    assert groups_of(sch.get(block)) == Groups(axis=1, size=8, read=0, dim=1, part=4)
    sch, block = opened(FUNCTIONS["channels-last"])
    assert groups_of(sch.get(block)) == Groups(axis=3, size=16, read=0, dim=3, part=4)


def test_a_group_is_an_axis_of_a_contraction():
    sch, block = opened(FUNCTIONS["channels-first"])
    assert find_contraction(sch, block) is None
    contraction = find_contraction(split_groups(sch, block), block)
    assert contraction is not None
    assert contraction.extents[:3] == (2, 2, 8)
    assert 1 in contraction.batch


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_one_is_a_contraction_then(name):
    """One of a 1 x 1 window too, whose axes TVM takes for spatial ones."""
    sch, block = opened(FUNCTIONS[name])
    assert find_contraction(split_groups(sch, block), block) is not None


def upsampled(size):
    """Every pixel twice: a quotient, but of no groups that the sums stay in."""
    x = te.placeholder((size, size), "float32", "X")
    w = te.placeholder((2 * size, 3), "float32", "W")
    r = te.reduce_axis((0, 3), "r")
    p = topi.nn.pad(x, (0, 1), (0, 1), name="pad")
    return te.create_prim_func(
        [x, w, te.compute((2 * size,), lambda i: te.sum(p[0, i // 2 + r] * w[i, r], axis=[r]))]
    )


@pytest.mark.parametrize(
    "function",
    [
        workloads.make("gemm", (8, 8, 8)),
        workloads.make("conv2d", (1, 8, 8, 8, 8, 3, 1, 1)),
        channels_first(1, 4, 8, 8, 3),
        channels_first(6, 1, 2, 8, 3),
        upsampled(8),
    ],
    ids=["gemm", "conv2d", "one-group", "depthwise", "upsampled"],
)
def test_others_have_no_groups(function):
    sch, block = opened(function)
    assert groups_of(sch.get(block)) is None
    assert split_groups(sch, block) is None
