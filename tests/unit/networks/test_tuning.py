"""``tune_model`` with invented latencies: budget, records, resuming, notes, checks."""

import contextlib
import io
import json
import re
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import tvm
from first_guess import UpsideDown
from stand_ins import Future, Refuses, Runner
from tiny_networks import TARGET, quick, two
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from mschedx import ConstrainedEvolution, DraftVerify, GradientDescent, ranking, tune_model
from mschedx.cost import PSA, FelixMLP, HeronXGB
from mschedx.measure.failures import MachineTrouble
from mschedx.networks import Origin, choices, running
from mschedx.networks import conclude as conclude_module
from mschedx.networks import tuning as tuning_module
from mschedx.networks.checking import Check, random_arrays
from mschedx.networks.errors import NetworkError
from mschedx.networks.importing import import_network
from mschedx.networks.progress import (
    LiveNetworkProgress,
    NetworkProgress,
    NotebookNetworkProgress,
    PlainNetworkProgress,
    make_network_progress,
)
from mschedx.record.contents import RECORDS, TRIALS
from mschedx.record.lines import read_lines
from mschedx.record.trials import read_run
from mschedx.record.work_dir import WorkDirWarning


class Noting(NetworkProgress):
    def __init__(self):
        super().__init__()
        self.notes, self.updates = [], []

    def note(self, text):
        self.notes.append(text)

    def update(self, one, trials):
        super().update(one, trials)
        self.updates.append((one.task.name, len(trials)))


@pytest.fixture(scope="module")
def network():
    return two()


def test_every_task_is_tuned_and_the_output_checked(network, tmp_path):
    result = tune_model(*network, trials_per_task=4, work_dir=tmp_path, **quick())
    assert [choice.origin for choice in result.tasks] == [Origin.TUNED, Origin.TUNED]
    assert result.measured >= 8
    assert result.verified
    assert result.max_error <= result.tolerance < 1e-3
    assert result.notes == ()
    assert result.latency_s == pytest.approx(sum(choice.latency_s for choice in result.tasks))
    for number in (0, 1):
        run = read_run(tmp_path, number)
        assert [trial.index for trial in run.trials] == list(range(len(run.trials)))
        assert {trial.task for trial in run.trials} < {c.task.name for c in result.tasks}
        assert len(run.sessions) == 1
        assert all(trial.program is not None for trial in run.trials)


def test_what_the_searches_say_of_their_draft_is_told_by_task(network, tmp_path):
    small = {"population": 64, "drafts": 32, "parents": 16, "refresh": 1, "least_trials": 8}
    noting, draft = Noting(), DraftVerify(UpsideDown(), **small)
    how = quick(progress=noting, strategy=draft)
    result = tune_model(*network, trials_per_task=24, work_dir=tmp_path, **how)
    told = [note for note in result.notes if "the draft is given up" in note]
    names = [choice.task.name for choice in result.tasks]
    assert sorted(note.split(":")[0] for note in told) == sorted(f"task {name}" for name in names)
    assert [note for note in noting.notes if note in told] == told


def test_a_second_call_measures_nothing_and_finds_the_same(network, tmp_path):
    first = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick())
    noting = Noting()
    again = tune_model(
        *network, trials_per_task=2, work_dir=tmp_path, **quick(progress=noting, runner=None)
    )
    assert again.measured == 0
    assert again.latency_s == first.latency_s
    assert noting.notes == [f"all {first.measured} trials are in the work_dir already"]


def test_more_trials_go_on_from_what_there_is(network, tmp_path):
    first = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick())
    noting = Noting()
    more = tune_model(*network, trials_per_task=4, work_dir=tmp_path, **quick(progress=noting))
    assert noting.notes[0] == f"{first.measured} of 8 trials are in the work_dir already"
    total = sum(len(read_run(tmp_path, n).trials) for n in (0, 1))
    assert first.measured + more.measured == total
    assert {c.trials for c in more.tasks} == {len(read_run(tmp_path, n).trials) for n in (0, 1)}


def test_a_folder_says_what_was_written_so_that_spoilt_records_are_noticed(network, tmp_path):
    first = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick())
    entries = [line.content for line in read_lines(tmp_path / TRIALS)]
    kinds = Counter(entry["kind"] for entry in entries)
    assert (kinds["written"], kinds["workload"]) == (first.measured, len(first.tasks))
    records = tmp_path / RECORDS
    lines = read_lines(records)
    workload, (trace, seconds, *rest) = lines[-1].content
    spoilt = json.dumps([workload, [trace, [seconds[0] / 10], *rest]])
    records.write_text("".join(line.text + "\n" for line in lines[:-1]) + spoilt + "\n")
    (tmp_path / "database_workload.json").write_text("")
    with pytest.warns(WorkDirWarning, match="not what was written there") as said:
        again = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick())
    assert {one.filename for one in said} == {__file__}
    assert again.measured == 1, "the spoilt one"
    assert seconds[0] / 10 not in [choice.latency_s for choice in again.tasks]


def test_pooling_with_windows_of_differing_lengths_is_compared():
    model, x = torch.nn.AdaptiveAvgPool2d((3, 3)).eval(), torch.rand(1, 4, 7, 7)
    result = tune_model(model, (x,), trials_per_task=0, **quick(space=None, cost_model=None))
    assert result.verified, result.notes


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


def test_what_a_model_expects_of_a_first_round_is_journaled_where_it_is_ready(network, tmp_path):
    """PSA is ready before anything is measured."""
    parts = quick(space=None, strategy=ConstrainedEvolution(), cost_model=PSA())
    tune_model(*network, trials_per_task=2, work_dir=tmp_path, **parts)
    for number in (0, 1):
        trials = read_run(tmp_path, number).trials
        assert trials
        assert all(trial.predicted is not None for trial in trials)


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


def test_records_of_one_network_serve_another(network, tmp_path):
    tune_model(*network, trials_per_task=2, work_dir=tmp_path, **quick())

    class Longer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = two(seed=1)[0]

        def forward(self, x):
            return self.inner(x).tanh()

    result = tune_model(
        Longer().eval(), network[1], trials_per_task=2, work_dir=tmp_path, **quick()
    )
    known = [choice for choice in result.tasks if "relu" in choice.task.name]
    assert len(known) == 1
    assert known[0].trials >= 2
    manifest = json.loads((tmp_path / "mschedx_manifest.json").read_text())
    assert set(manifest["networks"]) == {"Two", "Longer"}


def test_networks_of_one_name_have_an_entry_each(tmp_path):
    x = torch.randn(3, 8)
    for last in (torch.nn.ReLU(), torch.nn.Tanh(), torch.nn.ReLU()):
        model = torch.nn.Sequential(torch.nn.Softmax(-1), last).eval()
        options = quick(space=None, cost_model=None, verify=False)
        tune_model(model, (x,), trials_per_task=0, work_dir=tmp_path, **options)
    manifest = json.loads((tmp_path / "mschedx_manifest.json").read_text())
    assert set(manifest["networks"]) == {"Sequential", "Sequential (2)"}


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


def test_operators_that_tvm_cannot_compile_are_told(network, monkeypatch):
    def broken(*_, **__):
        raise tvm.error.InternalError("no such operator")

    monkeypatch.setattr("mschedx.networks.tuning.fuse", broken)
    with pytest.raises(NetworkError, match=r"cannot compile this network: .*no such operator"):
        tune_model(*network, **quick())


def test_a_network_of_nothing_to_tune():
    class Flat(torch.nn.Module):
        def forward(self, x):
            return x.reshape(6, 4)

    x = torch.rand(2, 3, 4)
    result = tune_model(Flat().eval(), x, trials_per_task=2, **quick())
    assert result.tasks == ()
    assert result.latency_s == 0
    np.testing.assert_array_equal(result.compile()(x), x.reshape(6, 4))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trials_per_task": -1}, "trials_per_task"),
        ({"trials_per_task": 2.5}, "trials_per_task"),
        ({"seed": -1}, "seed"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"target": "opencl"}, "llvm"),
        ({"target": {"kind": "llvm", "mcpu": "haswell"}}, "num-cores"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_imported(options, says):
    with pytest.raises(ValueError, match=says):
        tune_model(object(), **{"target": TARGET, **options})


def test_plain_progress_says_how_far_it_is(network, capsys):
    tune_model(*network, trials_per_task=2, **quick(progress=PlainNetworkProgress()))
    lines = [line for line in capsys.readouterr().err.splitlines() if "trials, best" in line]
    assert len(lines) >= 4
    assert re.search(r"4/4 trials, network .* 0 s left", lines[-1])


def test_the_live_table_shows_every_task_and_the_network(network):
    from rich.console import Console

    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=140)
    result = tune_model(*network, trials_per_task=2, **quick(progress=LiveNetworkProgress(console)))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert all(choice.task.name in shown for choice in result.tasks)
    assert "of network" in shown
    assert "4/4 trials" in shown


def test_a_notebook_shows_the_same_table_in_one_display(network, monkeypatch):
    drawn = []
    shell = SimpleNamespace(kernel=object())
    display = SimpleNamespace(display=lambda content, **options: drawn.append((content, options)))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    chosen = make_network_progress(True)
    assert isinstance(chosen, NotebookNetworkProgress)
    chosen.note("a <note>")
    result = tune_model(*network, trials_per_task=2, **quick(progress=chosen))
    assert [options["update"] for _, options in drawn] == [False] + [True] * (len(drawn) - 1)
    assert len({options["display_id"] for _, options in drawn}) == 1
    last = drawn[-1][0]
    assert last["text/plain"].startswith("4/4 trials, network ")
    assert '<progress value="4" max="4">' in last["text/html"]
    assert all(f"<td>{choice.task.name}</td>" in last["text/html"] for choice in result.tasks)
    assert "a &lt;note&gt;" in last["text/html"]
    assert not isinstance(make_network_progress(False), NotebookNetworkProgress)


def test_a_task_that_ranking_refuses_without_a_text_says_so(monkeypatch):
    def refuse(*_, **__):
        raise ValueError

    monkeypatch.setattr(ranking, "rank", refuse)
    assert choices._ranked(tvm.IRModule(), TARGET, None, None, 0, False) == "ValueError()"


class Quotients(torch.nn.Module):
    def forward(self, x, n):
        return x // n, x % n


SIXES, DIVISORS = torch.arange(6), torch.arange(6) + 1


def checked(model, *inputs, **options):
    return tune_model(model, inputs, trials_per_task=1, **quick(**options))


def test_integers_of_the_check_are_those_of_the_examples():
    """Others may be no place of a table, and 0 divides nothing."""
    table = checked(torch.nn.Embedding(1, 4).eval(), torch.zeros(3, dtype=torch.int64))
    assert table.verified
    result = checked(Quotients().eval(), SIXES, DIVISORS)
    assert result.verified
    assert result.profile(runs=1).operators
    divisors = random_arrays(result.signature, np.random.default_rng(0))[1]
    np.testing.assert_array_equal(divisors, DIVISORS)
    shorter = (result.signature.inputs[0], replace(result.signature.inputs[1], shape=(3,)))
    drawn = random_arrays(replace(result.signature, inputs=shorter), np.random.default_rng(0))[1]
    assert drawn.shape == (3,)
    assert set(drawn.tolist()) <= set(DIVISORS.tolist())


def test_a_reference_that_fails_costs_no_result():
    class Zeros(torch.nn.Module):
        """A divisor that is 0 for all that the check draws."""

        def forward(self, x):
            return x.long() // (x > 9).long()

    result = checked(Zeros().eval(), torch.full((6,), 10.0))
    assert not result.verified
    assert result.wrong == ""
    assert result.notes[-1].startswith("the network's output could not be compared: the reference")
    assert "ZeroDivisionError" in result.notes[-1]


def test_a_divisor_of_zero_ends_no_process():
    """A kernel cannot raise torch's error: the rest of the output is right."""
    result = checked(Quotients().eval(), SIXES, DIVISORS)
    divisors = DIVISORS.clone()
    divisors[2] = 0
    quotients, remainders = result.compile()(SIXES, divisors)
    known = [0, 1, 3, 4, 5]
    assert torch.equal(quotients[known], (SIXES // DIVISORS)[known])
    assert torch.equal(remainders[known], (SIXES % DIVISORS)[known])
    assert (quotients[2], remainders[2]) == (0, 0)


def test_a_module_that_divides_integers_is_checked_and_profiled():
    """A Relax module has no framework that would refuse the inputs first."""
    result = checked(import_network(Quotients().eval(), (SIXES, DIVISORS)).mod)
    assert result.verified
    assert result.profile(runs=1).operators


def test_a_network_that_cannot_be_run_is_wrong(network, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such function\nin the machine")

    monkeypatch.setattr("mschedx.networks.checking.run", broken)
    result = tune_model(*network, trials_per_task=1, **quick())
    assert result.wrong == "it cannot be run: no such function"


def test_gradient_descent_brings_a_model_with_gradients_for_all_tasks(network, tmp_path):
    parts = quick(space=None, strategy=GradientDescent(n_steps=2, later_steps=2), cost_model=None)
    result = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **parts)
    assert {choice.origin for choice in result.tasks} == {Origin.TUNED}


def test_a_model_without_gradients_is_refused_before_a_network_is_read():
    parts = quick(strategy=GradientDescent(), cost_model=HeronXGB())
    with pytest.raises(TypeError, match=r"with gradients beside GradientDescent .* got HeronXGB"):
        tune_model("absent.onnx", trials_per_task=2, **parts)
