"""Which program a task becomes: tuned, ranked or as it is."""

from dataclasses import replace

import tvm
from stand_ins import Refuses, Runner
from tiny_networks import TARGET, quick
from tvm.s_tir import meta_schedule as ms

from mschedx import ConstrainedEvolution, GradientDescent, ranking, tune_model
from mschedx.cost import PSA, FelixMLP
from mschedx.networks import Origin, choices
from mschedx.networks import tuning as tuning_module
from mschedx.record.trials import read_run


def test_no_trials_rank_every_task(network):
    result = tune_model(*network, trials_per_task=0, **quick(space=None, cost_model=None))
    assert result.measured == 0
    assert {choice.origin for choice in result.tasks} == {Origin.RANKED}
    assert 0 < result.latency_s < 1
    assert result.verified
    assert "all 2 tasks have their best ranked config" in result.notes[-1]


def test_no_trials_rank_every_task_whatever_model_was_to_learn(network):
    parts = quick(space=None, strategy=GradientDescent(), cost_model=FelixMLP())
    result = tune_model(*network, trials_per_task=0, verify=False, **parts)
    assert {choice.origin for choice in result.tasks} == {Origin.RANKED}
    assert any('"FelixMLP" says nothing before it has learnt' in note for note in result.notes)


def test_a_task_that_never_ran_is_ranked_and_named(network, tmp_path):
    runner = Runner([1.0] + [None] * 100)
    result = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick(runner, space=None))
    origins = {choice.task.name: choice.origin for choice in result.tasks}
    assert sorted(origins.values()) == [Origin.RANKED, Origin.TUNED]
    (ranked,) = [name for name, origin in origins.items() if origin is Origin.RANKED]
    assert any(ranked in note and "no record of it ran" in note for note in result.notes)
    assert result.untuned[0].task.name == ranked


def test_a_cost_model_that_cannot_rank_is_said_to_be_of_no_use(network):
    def said(cost_model):
        parts = quick(space=None, cost_model=cost_model)
        result = tune_model(*network, trials_per_task=0, verify=False, **parts)
        return [note for note in result.notes if "before it has learnt" in note]

    assert said("none") == said(PSA()) == []
    assert '"xgb"' in said("xgb")[0]


def test_ctrl_c_leaves_tasks_unscheduled_that_were_not_measured(network, tmp_path, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("ranking takes seconds a task")

    def with_another(*given):
        return replace(tasks_of(*given), fixed=(("odd", "it is empty"),))

    tasks_of = tuning_module.tasks_of
    monkeypatch.setattr(tuning_module, "tasks_of", with_another)
    monkeypatch.setattr("mschedx.networks.choices._ranked", asked)
    monkeypatch.setattr("mschedx.networks.choices._ranked_apart", asked)
    runner = Runner(interrupt_after=1)
    result = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick(runner))
    missing = [choice for choice in result.tasks if not choice.trials]
    assert missing
    assert {choice.origin for choice in missing} == {Origin.UNSCHEDULED}
    fixed, unscheduled = result.notes
    assert fixed == "odd is no task and stays as it is: it is empty"
    why = (
        "interrupted before a candidate of it ran; compile(), export() and profile() rank it first"
    )
    assert unscheduled.endswith(f"unscheduled: {why}")
    assert all(choice.task.name in unscheduled for choice in missing)


def test_a_function_that_its_strategy_proposes_as_it_is_stays_unscheduled(network, tmp_path):
    """No config becomes a program, so there is nothing else to measure."""

    def refused(sch):
        return [sch.copy()]

    space = ms.space_generator.ScheduleFn(refused, postprocs=[Refuses()], mutator_probs={})
    parts = quick(space=space, strategy=ConstrainedEvolution())
    result = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **parts)
    assert {choice.origin for choice in result.tasks} == {Origin.UNSCHEDULED}
    for number in range(len(result.tasks)):
        assert [trial.unscheduled for trial in read_run(tmp_path, number).trials] == [True]


def test_a_task_that_ranking_refuses_without_a_text_says_so(monkeypatch):
    def refuse(*_, **__):
        raise ValueError

    monkeypatch.setattr(ranking, "rank", refuse)
    assert choices._ranked(tvm.IRModule(), TARGET, None, None, 0, False) == "ValueError()"
