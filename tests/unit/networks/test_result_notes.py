"""What a network's result says of tasks that ended, or stay as they are."""

import re

import pytest
from stand_ins import Refuses, Runner
from tiny_networks import quick, two
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.schedule_rule import PyScheduleRule

from mschedx import ConstrainedEvolution, tune_model
from mschedx.networks import Origin, running
from mschedx.networks.progress import NetworkProgress
from mschedx.space.rules.guards import Guarded


class Noting(NetworkProgress):
    def __init__(self):
        super().__init__()
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def network():
    return two()


def names(result):
    return sorted(choice.task.name for choice in result.tasks)


def no_program():
    """A space of one config, of which postprocs make no program."""

    def same(sch):
        return [sch.copy()]

    return ms.space_generator.ScheduleFn(same, postprocs=[Refuses()], mutator_probs={})


def test_that_time_was_up_is_said(network):
    noting = Noting()
    parts = quick(progress=noting)
    result = tune_model(*network, trials_per_task=64, timeout_s=0.01, **parts)
    assert result.timed_out
    assert result.notes == (f"time was up after {result.measured} of 128 trials",)
    assert noting.notes == [*result.notes]


def test_time_that_was_up_with_the_last_trial_is_no_matter(network):
    result = tune_model(*network, trials_per_task=1, timeout_s=1e-3, **quick())
    assert result.measured == 2
    assert result.notes == ()


def test_a_task_without_more_programs_is_named(network, monkeypatch):
    propose = running.RunningTask.propose

    def once(one, most, per_round):
        if one.standing.trials and "relu" in one.task.name:
            one._end("the design space holds no more programs")
            return []
        return propose(one, most, 1)

    monkeypatch.setattr(running.RunningTask, "propose", once)
    noting = Noting()
    result = tune_model(*network, trials_per_task=4, **quick(progress=noting))
    (ended,) = [choice.task.name for choice in result.tasks if choice.trials == 1]
    assert [*result.notes] == [f"{ended}: the design space holds no more programs"] == noting.notes


def test_tasks_of_which_no_config_becomes_a_program_say_so(network, tmp_path):
    how = quick(space=no_program(), strategy=ConstrainedEvolution())
    result = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **how)
    *ended, last = result.notes
    why = (
        "nothing could be searched, so it stays as it is: "
        "no config of its design spaces becomes a program"
    )
    assert sorted(ended) == [f"{name}: {why}" for name in names(result)]
    assert last.endswith("stay unscheduled: nothing of its design spaces could be searched")
    again = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **how)
    assert again.measured == 0, "it was measured as it is"
    assert again.notes[-1] == last


def test_why_a_task_could_not_be_searched_is_said(network):
    def refuse(sch):
        raise ValueError("no block of that name")

    space = ms.space_generator.ScheduleFn(refuse, postprocs=[], mutator_probs={})
    result = tune_model(*network, trials_per_task=2, **quick(space=space))
    for name in names(result):
        (note,) = [note for note in result.notes if note.startswith(f"{name}: ")]
        assert "nothing could be searched, so it stays as it is: " in note
        assert "no block of that name" in note


def test_a_function_that_no_measured_program_beats_says_so(network, tmp_path):
    """As where an earlier version searched nothing, and a later one found nothing faster."""
    first = quick(Runner([1e-6] * 2), space=no_program(), strategy=ConstrainedEvolution())
    tune_model(*network, trials_per_task=2, work_dir=tmp_path, **first)
    result = tune_model(*network, trials_per_task=4, work_dir=tmp_path, **quick())
    assert {choice.origin for choice in result.tasks} == {Origin.UNSCHEDULED}
    why = result.tasks[0].why
    assert re.fullmatch(r"none of [1-9] scheduled programs that were measured is faster", why)
    assert any(why in note for note in result.notes)


@derived_object
class Fails(PyScheduleRule):
    """A rule that meets what it does not understand."""

    def _initialize_with_tune_context(self, context):
        del context

    def apply(self, sch, block):
        raise ValueError("no such axis")

    def clone(self):
        return Fails()


@pytest.mark.parametrize("trials", [0, 2])
def test_a_rule_that_fails_at_a_block_is_named_by_task(network, trials):
    rules = [Guarded(Fails(), "Fails"), *ms.ScheduleRule.create("llvm")]
    space = ms.space_generator.PostOrderApply(
        sch_rules=rules,
        postprocs=ms.Postproc.create("llvm"),
        mutator_probs=ms.Mutator.create("llvm"),
    )
    noting = Noting()
    how = quick(space=space, progress=noting)
    result = tune_model(*network, trials_per_task=trials, **how)
    assert Origin.UNSCHEDULED not in {choice.origin for choice in result.tasks}
    for name in names(result):
        lines = [note for note in result.notes if note.startswith(f"{name}: Fails does not fit")]
        assert lines
        assert all("no such axis" in line for line in lines)
        assert set(lines) <= set(noting.notes)
