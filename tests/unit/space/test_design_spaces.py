"""Functions whose spaces cannot be made, and what their users read."""

import pytest
from spaces import LLVM
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.script import tirx as T

import mschedx
from mschedx import compat
from mschedx.space import UnsupportedTrace, sketches

with compat.fast_script():

    @T.prim_func(s_tir=True)
    def two_of_a_name(a: T.Buffer((8,), "float32"), b: T.Buffer((8,), "float32")):
        t = T.sblock_alloc_buffer((8,))
        for i in range(8):
            with T.sblock("t"):
                vi = T.axis.spatial(8, i)
                t[vi] = a[vi] + T.float32(1)
        for i in range(8):
            with T.sblock("t"):
                vi = T.axis.spatial(8, i)
                b[vi] = t[vi] * t[vi]


@pytest.mark.parametrize("space", [None, "post-order-apply"])
def test_blocks_of_one_name_are_refused_where_rules_make_the_space(space):
    with pytest.raises(UnsupportedTrace, match=r'in "main".*; 2 .* "t": rename all but one'):
        sketches(two_of_a_name, LLVM, space)


def test_tuning_says_so_before_it_starts(tmp_path):
    with pytest.raises(UnsupportedTrace, match="rename"):
        mschedx.tune(two_of_a_name, trials=1, work_dir=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_blocks_of_one_name_may_be_scheduled_by_hand():
    def by_hand(schedule):
        first, _ = schedule.get_child_blocks(schedule.get_sblock("root"))
        (loop,) = schedule.get_loops(first)
        schedule.split(loop, schedule.sample_perfect_tile(loop, 2, 8))
        return schedule

    (sketch,) = sketches(two_of_a_name, LLVM, ms.space_generator.ScheduleFn(by_hand))
    assert isinstance(sketch.schedule([2, 4]), Schedule)
