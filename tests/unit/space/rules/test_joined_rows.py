"""Rows that are one run of memory: which are joined, and that the result is right."""

import logging

import pytest
import tvm
from agreement import assert_sketches_agree
from tvm import te, tirx, topi
from tvm.s_tir import Schedule
from tvm.target import Target

from mschedx.space.rules.blocks import root_blocks
from mschedx.space.rules.joined_rows import join_rows

TARGET = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})


def array(*shape, name="X"):
    return te.placeholder(shape, "float32", name)


def scaled(shape):
    """Scales of channels stand still along the rows of an image."""
    x, s = array(*shape), array(shape[1], name="S")
    return te.create_prim_func([x, s, te.compute(shape, lambda *i: x[i] * s[i[1]], name="Y")])


def along_columns(shape):
    x, s = array(*shape), array(shape[-1], name="S")
    return te.create_prim_func([x, s, te.compute(shape, lambda *i: x[i] * s[i[-1]], name="Y")])


def joined_channels():
    a, b = array(1, 3, 4, 6, name="A"), array(1, 5, 4, 6, name="B")
    return te.create_prim_func([a, b, topi.concatenate([a, b], 1)])


def margin():
    """What differs from pixel to pixel is no run."""
    x = array(1, 3, 4, 4)
    return te.create_prim_func([x, topi.nn.pad(x, (0, 0, 1, 1), (0, 0, 1, 1))])


def part_of_rows():
    x = array(3, 8, 12)
    return te.create_prim_func(
        [x, te.compute((3, 8, 6), lambda i, j, k: x[i, j, k] + tirx.const(1.0, "float32"))]
    )


FUNCTIONS = {
    "scaled": (scaled((2, 3, 4, 6)), 24),
    "whole": (scaled((2, 3, 12, 14)), 168),
    "joined-channels": (joined_channels(), 24),
    "one-vector-divides": (scaled((2, 3, 6, 8)), 8),
    "along-columns": (along_columns((2, 3, 4, 6)), 6),
    "margin": (margin(), 6),
    "part-of-rows": (part_of_rows(), 6),
    "points-behind": (scaled((2, 3, 4, 6, 1, 1)), 24),
    "one-vector-and-points": (scaled((2, 16, 1, 1)), 16),
    "nothing-divides": (scaled((2, 3, 5, 7)), 7),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_are_joined_where_vectors_gain(name):
    function, length = FUNCTIONS[name]
    sch = Schedule(tvm.IRModule({"main": function}))
    (block,) = root_blocks(sch)
    loops = dict(enumerate(sch.get_loops(block)))
    last = max(axis for axis, loop in loops.items() if int(sch.get(loop).extent) > 1)
    joined = join_rows(sch, block, loops, lanes=8)
    assert int(sch.get(joined[last]).extent) == length


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_sketch_computes_the_same(name):
    assert_sketches_agree(FUNCTIONS[name][0], TARGET, configs=4, tolerance=1e-5)


@pytest.mark.parametrize("size", [1, 2])
def test_pooling_of_whole_images_fits(size, caplog):
    """Its results lie behind each other in channels, with points of rows and columns behind."""
    x = array(1, 12, 8, 8)
    function = te.create_prim_func([x, topi.nn.adaptive_pool(x, (size, size), "avg")])
    with caplog.at_level(logging.WARNING, "tvm.s_tir.meta_schedule.mschedx.space"):
        assert_sketches_agree(function, TARGET, configs=4, tolerance=1e-5)
    assert "does not fit" not in caplog.text
