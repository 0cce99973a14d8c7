"""What follows measuring: what Ctrl-C leaves of it, and outputs that are wrong at first."""

import signal

import numpy as np
import pytest
from stand_ins import Runner
from tiny_networks import quick

from mschedx import tune_model
from mschedx.networks import Origin
from mschedx.networks import conclude as conclude_module
from mschedx.networks.checking import Check
from mschedx.record.trials import read_run


def test_what_ctrl_c_left_is_ranked_once_it_is_compiled(network, tmp_path, monkeypatch):
    asked, ranked_choices = [], conclude_module.ranked_choices

    def noted(tasks, *args, **options):
        asked.append([task.key for task in tasks])
        return ranked_choices(tasks, *args, **options)

    monkeypatch.setattr(conclude_module, "ranked_choices", noted)
    parts = quick(Runner(interrupt_after=1), space=None)
    result = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **parts)
    (left,) = [choice for choice in result.tasks if not choice.trials]
    assert (left.origin, asked) == (Origin.UNSCHEDULED, [])
    expected = network[0](*network[1]).detach()
    np.testing.assert_allclose(result.compile()(*network[1]), expected, rtol=1e-4, atol=1e-5)
    assert asked == [[left.task.key]]
    operators = result.profile(runs=1).operators
    assert result.export(tmp_path / "network.so").exists()
    origins = {one.choice.task.key: one.choice.origin for one in operators}
    assert origins.pop(left.task.key) is Origin.RANKED
    assert set(origins.values()) == {Origin.TUNED}
    assert len(asked) == 1, "once for all of them"


def interrupted_once(function):
    """A function whose first call meets Ctrl-C."""
    calls = []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("step", ["tuned_choice", "compiled", "check_output"])
def test_ctrl_c_after_measuring_keeps_what_was_measured(network, tmp_path, monkeypatch, step):
    """Ranking, compiling and comparing a network may take minutes."""
    monkeypatch.setattr(conclude_module, step, interrupted_once(getattr(conclude_module, step)))
    result = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick())
    assert result.interrupted
    assert not result.verified
    assert {choice.origin for choice in result.tasks} == {Origin.TUNED}
    assert result.measured == sum(choice.trials for choice in result.tasks)
    assert result.notes == ("interrupted after measuring: the network's output was not compared",)
    assert "executable" not in vars(result), "compiled once it is asked for"
    compiled = result.compile()(*network[1])
    np.testing.assert_allclose(compiled, network[0](*network[1]).detach(), rtol=1e-4, atol=1e-5)


def test_ctrl_c_while_nothing_but_ranking_is_done_leaves_tasks_unscheduled(network, monkeypatch):
    ranked = conclude_module.ranked_choices
    monkeypatch.setattr(conclude_module, "ranked_choices", interrupted_once(ranked))
    result = tune_model(*network, trials_per_task=0, **quick(space=None, cost_model=None))
    assert result.interrupted
    assert {choice.origin for choice in result.tasks} == {Origin.UNSCHEDULED}
    assert any("unscheduled: interrupted before it was ranked" in note for note in result.notes)
    assert {choice.origin for choice in result.programs()} == {Origin.RANKED}, "once asked for"


def test_after_ctrl_c_what_is_said_of_the_model_that_ranks_is_a_warning(network, monkeypatch):
    ranked = conclude_module.ranked_choices
    monkeypatch.setattr(conclude_module, "ranked_choices", interrupted_once(ranked))
    result = tune_model(*network, trials_per_task=0, **quick(space=None, cost_model="xgb"))
    assert result.interrupted
    with pytest.warns(UserWarning, match='"xgb" says nothing before it has learnt') as said:
        assert {choice.origin for choice in result.programs()} == {Origin.RANKED}
    assert said[0].filename == __file__


def test_a_wrong_output_has_its_records_checked(network, monkeypatch, tmp_path):
    """The first check sees a wrong network; then the records are verified and it is right."""
    real, seen = conclude_module.check_output, []

    def once_wrong(*args):
        found = real(*args)
        seen.append(found)
        if len(seen) > 1:
            return found
        return type(found)(True, True, 1.0, 0.1, "output 0: 3 of 4 values differ")

    monkeypatch.setattr(conclude_module, "check_output", once_wrong)
    result = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick())
    assert len(seen) == 2
    assert result.verified
    assert any("records are checked" in note for note in result.notes)
    assert read_run(tmp_path, 0).verified


def test_what_is_said_of_choices_that_are_made_again_is_said_once(network, monkeypatch):
    wrong = Check(True, True, 1.0, 0.1, "off")
    monkeypatch.setattr(conclude_module, "check_output", lambda *_: wrong)
    notes = tune_model(*network, **{**quick(), "trials_per_task": 0}).notes
    assert sum("best ranked config" in note for note in notes) == 1
    assert "its records are checked: off" in notes[0]
