"""Functions whose spaces cannot be made, and what their users read."""

import numpy as np
import pytest
import tvm
from dummy import gemm, tune
from spaces import LLVM
from stand_ins import Runner, quick
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from two_of_a_name import two_of_a_name

import mschedx
from mschedx.cost import HeronXGB
from mschedx.search import ConstrainedRandom
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


NAMED = tvm.IRModule({"matmul": gemm().with_attr("global_symbol", "matmul")})
"""As TVMScript has modules, and gives their functions names."""


def by_ms_tune_tir(tmp_path, known, strategy):
    """Tuned by TVM's own helper: what is recorded applies to the function as TVM names it."""
    database, _ = tune(NAMED, tmp_path, strategy, HeronXGB(), trials=4)
    mod = ms.tune_context._normalize_mod(NAMED["matmul"])
    found = database.query_schedule(mod, LLVM, "matmul")
    assert found is not None
    return found.mod


def by_tune(tmp_path, known, strategy):
    own = strategy.given.sketches[0]
    options = quick(Runner(), space=own, strategy=strategy, start=known, cost_model="none")
    result = mschedx.tune(NAMED, trials=4, work_dir=tmp_path, **options)
    assert [t.latency_s is not None for t in result.history] == [True] * 4
    return result.schedule.mod


@pytest.mark.parametrize("tuned", [by_tune, by_ms_tune_tir])
def test_sketches_of_a_function_of_any_name_are_tuned(tuned, tmp_path):
    rng = np.random.default_rng(0)
    sketch = sketches(NAMED, LLVM, "post-order-apply")[0]
    narrow = sketch.fix({sketch.names[0]: 2})
    known = [narrow.schedule(config) for config in narrow.sample(2, rng)]
    strategy = ConstrainedRandom(batch=4).restricted(sketches=[narrow], start=known)
    mod = tuned(tmp_path, known, strategy)
    assert [var.name_hint for var in mod.get_global_vars()] == ["main"]


def test_schedules_of_another_name_are_refused_with_both(tmp_path):
    schedule = Schedule(NAMED)
    loop = schedule.get_loops(schedule.get_sblock("C", func_name="matmul"))[0]
    schedule.split(loop, schedule.sample_perfect_tile(loop, 2, 8))
    (sketch,) = sketches(NAMED, LLVM, [schedule])
    said = 'expected sketches of a function called "main", got one .* written for "matmul"'
    strategy = ConstrainedRandom(batch=4)
    with pytest.raises(ValueError, match=said):
        by_tune(tmp_path, (), strategy.restricted(sketches=[sketch]))
    context = ms.TuneContext(
        gemm(), target=LLVM, space_generator="post-order-apply", num_threads=1,
        search_strategy=strategy.restricted(sketches=[sketch]),
    )  # fmt: skip
    with pytest.raises(ValueError, match=said):
        context.pre_tuning(4, 4, design_spaces=[])
