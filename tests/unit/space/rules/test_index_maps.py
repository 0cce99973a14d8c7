"""Axes fused by their roles, in blocks and in buffers."""

import numpy as np
import pytest
from spaces import module
from tvm import te
from tvm.s_tir import Schedule

from mschedx.space.rules.index_maps import fusing, indices_of, transform_axes

EXTENTS = (2, 3, 5, 7)


@pytest.mark.parametrize("roles", [[(0,), (1, 2, 3)], [(2, 0), (3,), (1,)], [(3, 1), (2, 0)]])
def test_fused_indices_are_those_of_the_reshaped_array(roles):
    """Transposed by their roles and reshaped, NumPy's elements lie where the map says."""
    elements = np.arange(np.prod(EXTENTS)).reshape(EXTENTS)
    order = [axis for role in roles for axis in role]
    shape = [np.prod([EXTENTS[axis] for axis in role]) for role in roles]
    fused = elements.transpose(order).reshape(shape)
    new = fusing(range(4), roles, EXTENTS)
    for index in np.ndindex(*EXTENTS):
        assert fused[tuple(new(*index))] == elements[index]


def test_an_axis_that_is_not_there_counts_nothing():
    """A buffer of axes 3 and 1 alone, the others of extent 1 to it."""
    assert fusing((3, 1), [(0, 1), (2, 3)], (1, 3, 1, 7))(4, 2) == [2, 4]


def test_a_block_and_what_it_reads_get_the_same_axes():
    """``y[i, j] = x[j, i]`` over ``j, i`` fused: the reindexed buffer is read from end to end."""
    x = te.placeholder((5, 4), "float32", "x")
    sch = Schedule(module([x, te.compute((4, 5), lambda i, j: x[j, i], name="y")]))
    block = sch.get_sblock("y")
    sch.reindex(block, ("read", 0))
    own = indices_of(sch.get(block), sch.get(block).reads[0])
    assert sorted(own) == [0, 1]
    # TVM simplifies the indices of what it lays out: the axes are fused before.
    transform_axes(sch, block, fusing((0, 1), [(1, 0)], (4, 5)))
    sch.transform_layout(block, ("read", 0), fusing(own, [(1, 0)], (4, 5)))
    body = sch.get(block)
    assert [int(axis.dom.extent) for axis in body.iter_vars] == [20]
    assert indices_of(body, body.reads[0]) == [0]
