"""Stages: what loops over a copy of their result stand for."""

import pytest
from spaces import module
from tvm import te
from tvm.s_tir import Schedule

from mschedx.space.rules.stages import stages_of


def sums():
    """``y[i, 0, j] += x[j, k, i]`` with its axes in the order i, o, j, k; o has one point."""
    x, k = te.placeholder((5, 3, 4), "float32", "x"), te.reduce_axis((0, 3), "k")
    y = te.compute((4, 1, 5), lambda i, o, j: te.sum(x[j, k, i], k), name="y")
    sch = Schedule(module([x, y]))
    (stage,) = stages_of(sch)
    return sch, stage


def test_loops_over_a_copy_are_those_of_the_axes_of_its_stage():
    sch, stage = sums()
    copy = sch.cache_write(stage.block, 0, "global")
    loops = stage.by_dimension(sch.get_loops(copy))
    extents = {axis: int(sch.get(loop).extent) for axis, loop in loops.items()}
    assert {axis: extents[axis] for axis in extents if axis >= 0 and extents[axis] > 1} == {
        axis: stage.extents[axis] for axis in stage.spatial if stage.extents[axis] > 1
    }
    assert sorted(extents.values()) == [1, 4, 5]


def test_loops_that_are_no_copy_s_are_refused():
    sch, stage = sums()
    with pytest.raises(ValueError, match="zip"):
        stage.by_dimension(sch.get_loops(stage.block))
