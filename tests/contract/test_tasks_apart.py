"""What is wrong with one task of a run ends no other task."""

import logging

import numpy as np
import pytest
import tvm
from spaces import LLVM
from stand_ins import Builder, Runner, gemm
from tvm.s_tir import meta_schedule as ms
from two_of_a_name import two_of_a_name

import mschedx
from mschedx.cost import HeronXGB
from mschedx.networks import running
from mschedx.search import ConstrainedEvolution
from mschedx.space.opening import sketches_from

TWICE = two_of_a_name.with_attr("global_symbol", "twice")


@pytest.fixture
def said():
    """Warnings of spaces, searches and models; handlers of these loggers do not outlive a run."""
    found = []

    def collect(record):
        if record.levelno >= logging.WARNING:
            found.append(record.getMessage())
        return True

    names = [f"tvm.s_tir.meta_schedule.mschedx.{room}" for room in ("space", "search", "cost")]
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(collect)
    yield found
    for logger in loggers:
        logger.removeFilter(collect)


def tuned(functions, tmp_path, **parts):
    """How many trials there are of each function, by name, in one run for all of them."""
    mod = tvm.IRModule(functions)
    database = ms.tune_tir(
        mod, LLVM, work_dir=str(tmp_path), max_trials_global=8, max_trials_per_task=4,
        num_trials_per_iter=4, builder=Builder(), runner=Runner(), seed=1, **parts,
    )  # fmt: skip
    counts = dict.fromkeys(functions, 0)
    for record in database.get_all_tuning_records():
        (function,) = record.workload.mod.functions.values()
        same = [n for n, one in functions.items() if len(one.params) == len(function.params)]
        counts[same[0]] += 1
    return counts


BOTH = {"main": gemm().with_attr("global_symbol", "main"), "twice": TWICE}


@pytest.mark.parametrize("strategy", ["ours", "evolutionary", "replay-trace"])
@pytest.mark.parametrize("model", ["ours", "xgb"])
def test_rules_that_raise_leave_a_function_as_it_is(strategy, model, tmp_path, said):
    counts = tuned(
        BOTH,
        tmp_path,
        space=mschedx.space.for_target(LLVM),
        strategy=ConstrainedEvolution() if strategy == "ours" else strategy,
        cost_model=HeronXGB() if model == "ours" else model,
    )
    assert counts["main"] == 4
    assert counts["twice"] >= 1
    (warning,) = {one for one in said if "the function stays as it is" in one}
    assert "task twice" in warning
    assert '"t"' in warning or "Duplicated" in warning


def test_a_model_keeps_the_trials_of_two_functions_that_differ_in_name_alone(tmp_path):
    functions = {n: gemm().with_attr("global_symbol", n) for n in ("first", "second")}
    model = HeronXGB()
    tuned(
        functions,
        tmp_path / "run",
        space=mschedx.space.for_target(LLVM),
        strategy=ConstrainedEvolution(),
        cost_model=model,
    )
    model.save(str(tmp_path / "model"))
    with np.load(tmp_path / "model") as stored:
        assert len(stored["latency_s_0"]) == 8


def nothing_for_two(schedule):
    """A space of one's own that has no design for functions of two arguments."""
    (function,) = schedule.mod.functions.values()
    return [] if len(function.params) == 2 else [schedule]


def test_a_space_without_designs_is_measured_as_it_is(tmp_path, said):
    counts = tuned(
        BOTH,
        tmp_path,
        space=ms.space_generator.ScheduleFn(nothing_for_two, postprocs=[]),
        strategy=ConstrainedEvolution(),
        cost_model=HeronXGB(),
    )
    assert counts == {"main": 1, "twice": 1}
    (warning,) = [one for one in said if "measured as it is" in one]
    assert warning.startswith("task twice ")
    assert "nothing to search" in warning
    assert "no design space" in warning


def test_an_analysis_that_fails_costs_one_task(tmp_path, said, monkeypatch):
    def fails_for_two(design_spaces, mod, *rest):
        (function,) = mod.functions.values()
        if len(function.params) == 2:
            raise IndexError("of our own making")
        return sketches_from(design_spaces, mod, *rest)

    monkeypatch.setattr("mschedx.space.opening.sketches_from", fails_for_two)
    monkeypatch.setattr("mschedx.space.resolver.sketches_from", fails_for_two)
    functions = {**BOTH, "twice": one_of_a_name()}
    counts = tuned(
        functions,
        tmp_path,
        space=mschedx.space.for_target(LLVM),
        strategy=ConstrainedEvolution(),
        cost_model=HeronXGB(),
    )
    assert counts == {"main": 4, "twice": 1}
    assert any(one.startswith("task twice ") and "of our own making" in one for one in said)


def one_of_a_name():
    a = tvm.te.placeholder((8,), name="A")
    function = tvm.te.create_prim_func([a, tvm.te.compute((8,), lambda i: a[i] * 2, name="B")])
    return function.with_attr("global_symbol", "twice")


def test_one_function_alone_is_refused_with_the_reason():
    with pytest.raises(mschedx.space.UnsupportedTrace, match="rename all but one"):
        mschedx.rank(TWICE, LLVM, space=mschedx.space.for_target(LLVM))
    context = ms.TuneContext(
        gemm(), target=LLVM, space_generator=ms.space_generator.ScheduleFn(nothing_for_two),
        search_strategy=ConstrainedEvolution().alone(),
    )  # fmt: skip
    with pytest.raises(ValueError, match="nothing to search"):
        context.pre_tuning(4, 4, design_spaces=[])


def test_a_copy_of_the_space_is_one_too():
    """TVM clones what it is given, and the rules of each copy serve one task."""
    space = mschedx.space.for_target(LLVM)
    assert len(space.clone().sch_rules) == len(space.inner.sch_rules) > 0
    context = ms.TuneContext(TWICE, target=LLVM, space_generator=space, task_name="t")
    (schedule,) = context.clone().generate_design_space()
    assert [inst.kind.name for inst in schedule.trace.insts] == ["GetSBlock"]
    tvm.ir.assert_structural_equal(schedule.mod, context.mod)


def test_a_task_of_a_network_whose_space_fails_says_so(monkeypatch):
    def fails(self, *args):
        raise KeyError("of our own making")

    task = type("Task", (), {"mod": tvm.IRModule({"main": gemm()}), "name": "gemm", "weight": 1})
    task.flops = 1.0
    monkeypatch.setattr(ms.TuneContext, "generate_design_space", fails)
    parts = running.SharedParts(
        space=mschedx.space.for_target(LLVM), strategy=ConstrainedEvolution(),
        database=ms.database.MemoryDatabase(),
    )  # fmt: skip
    one = running.RunningTask(task, LLVM, parts, 1, ())
    (candidate,) = one.propose(4, 4)
    tvm.ir.assert_structural_equal(candidate.sch.mod["main"].body, task.mod["main"].body)
    assert "nothing could be searched" in one.why_ended
    assert "of our own making" in one.why_ended
    assert np.isinf(one.best_s)
