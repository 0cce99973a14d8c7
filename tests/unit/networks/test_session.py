"""Waves of a network's tasks: how they end, and what was spent before them."""

import contextlib
import signal
import time

import numpy as np
import pytest
import torch
from noting import Noting
from stand_ins import Future, Runner
from tiny_networks import quick, two
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from mschedx import tune_model
from mschedx.measure.failures import MachineTrouble
from mschedx.networks import Origin, running


def test_ctrl_c_keeps_what_was_measured(network, tmp_path):
    runner = Runner(interrupt_after=2)
    result = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick(runner))
    assert result.interrupted
    assert result.measured == sum(c.trials for c in result.tasks) > 0
    assert "executable" not in vars(result), "compiled once it is asked for"
    compiled = result.compile()(*network[1])
    np.testing.assert_allclose(compiled, network[0](*network[1]).detach(), rtol=1e-4, atol=1e-5)
    resumed = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick())
    assert not resumed.interrupted
    assert {choice.origin for choice in resumed.tasks} == {Origin.TUNED}


@derived_object
class Swallowing(ms.runner.PyRunner):
    """Meets Ctrl-C in its first run and takes it for nothing."""

    def __init__(self):
        super().__init__()
        self.runs = 0

    def run(self, runner_inputs):
        self.runs += 1
        if self.runs == 1:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
                time.sleep(1)
        return [Future(1e-3, None) for _ in runner_inputs]


def test_ctrl_c_that_a_part_has_swallowed_ends_it_before_the_next_task(network, tmp_path):
    runner = Swallowing()
    result = tune_model(*network, trials_per_task=16, work_dir=tmp_path, **quick(runner))
    assert result.interrupted
    assert runner.runs == 1
    assert sorted(bool(choice.trials) for choice in result.tasks) == [False, True]


def test_time_ends_it_between_waves(network):
    result = tune_model(*network, trials_per_task=64, timeout_s=0.01, **quick())
    assert result.timed_out
    assert result.measured < 128


def test_a_machine_that_cannot_run_is_no_candidate_failure(network, tmp_path):
    class Broken(Runner):
        def run(self, runner_inputs):
            raise OSError(28, "No space left on device")

    with pytest.raises((MachineTrouble, OSError), match="space"):
        tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick(Broken()))


class Wider(torch.nn.Module):
    """The two tasks of `two`, and one of its own."""

    def __init__(self):
        super().__init__()
        self.inner = two(seed=1)[0]

    def forward(self, x):
        return self.inner(x), torch.softmax(x, -1)


def trials_by_task(result):
    """Trials of the tasks in the work_dir, those of tasks of `two` first."""
    return [c.trials for c in sorted(result.tasks, key=lambda c: "softmax" in c.task.name)]


def test_what_another_network_spent_denies_no_task_its_floor(network, tmp_path):
    shared = sum(
        trials_by_task(tune_model(*network, trials_per_task=16, work_dir=tmp_path, **quick()))
    )
    assert shared >= 32
    wider = (Wider().eval(), network[1])
    first = tune_model(
        *wider, trials_per_task=4, work_dir=tmp_path, **quick(Runner(interrupt_after=0))
    )
    assert first.interrupted
    noting = Noting()
    done = tune_model(*wider, trials_per_task=4, work_dir=tmp_path, **quick(progress=noting))
    assert noting.notes[0] == f"{shared} of {shared + 2} trials are in the work_dir already"
    assert trials_by_task(done)[-1] == done.measured == 2
    noting = Noting()
    again = tune_model(*wider, trials_per_task=4, work_dir=tmp_path, **quick(progress=noting))
    assert again.measured == 0
    assert noting.notes == [f"all {shared + 2} trials are in the work_dir already"]


def test_a_task_without_more_programs_does_not_keep_it_open(network, tmp_path, monkeypatch):
    real, searched = running.RunningTask.propose, []

    def propose(one, most, per_round):
        searched.append(one.task.name)
        if one.standing.trials and "relu" in one.task.name:
            one._end("the design space holds no more programs")
            return []
        return real(one, most, 1)

    monkeypatch.setattr(running.RunningTask, "propose", propose)
    first = tune_model(*network, trials_per_task=4, work_dir=tmp_path, **quick())
    assert sorted(c.trials for c in first.tasks) == [1, 7]
    searched.clear()
    noting = Noting()
    again = tune_model(*network, trials_per_task=4, work_dir=tmp_path, **quick(progress=noting))
    assert (again.measured, searched) == (0, [])
    assert noting.notes == ["all 8 trials are in the work_dir already"]
    more = tune_model(*network, trials_per_task=5, work_dir=tmp_path, **quick())
    assert more.measured == 2
    assert any("relu" in name for name in searched), "more may be found where trials are left"
