"""Functions whose spaces cannot be made, and what their users read."""

import pytest
from dummy import gemm
from spaces import LLVM
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from two_of_a_name import two_of_a_name

import mschedx
from mschedx.space import UnsupportedTrace, opening, sketches
from mschedx.space.errors import InvalidSchedule


@pytest.mark.parametrize("space", [None, "post-order-apply"])
def test_blocks_of_one_name_are_refused_where_rules_make_the_space(space):
    with pytest.raises(UnsupportedTrace, match=r'in "main".*; 2 .* "t": rename all but one'):
        sketches(two_of_a_name, LLVM, space)


def test_no_design_spaces_are_refused():
    with pytest.raises(UnsupportedTrace, match="got an empty list as space="):
        sketches(gemm(), LLVM, [])


def test_design_spaces_that_are_all_refused_somewhere_say_why(monkeypatch):
    """Some sketches may be: the others are left. None is: there is nothing to take the first of."""
    every = sketches(gemm(), LLVM)
    assert len(every) > 1
    error = InvalidSchedule("VerifySomething", "says so")
    refused = iter([error] + [None] * len(every))
    monkeypatch.setattr(opening, "refused_somewhere", lambda design: next(refused))
    assert len(sketches(gemm(), LLVM)) == len(every) - 1
    monkeypatch.setattr(opening, "refused_somewhere", lambda design: error)
    with pytest.raises(InvalidSchedule, match="VerifySomething: says so"):
        sketches(gemm(), LLVM)


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
