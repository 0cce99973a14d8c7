"""``tune_model`` with invented latencies: budget, records, resuming, notes, checks."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
import tvm
from first_guess import UpsideDown
from noting import Noting
from tiny_networks import TARGET, quick, two

from mschedx import ConstrainedEvolution, DraftVerify, GradientDescent, tune_model
from mschedx.cost import PSA, HeronXGB
from mschedx.networks import Origin
from mschedx.networks.errors import NetworkError
from mschedx.record.contents import RECORDS, TRIALS
from mschedx.record.lines import read_lines
from mschedx.record.trials import read_run
from mschedx.record.work_dir import WorkDirWarning


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


def test_what_a_model_expects_of_a_first_round_is_journaled_where_it_is_ready(network, tmp_path):
    """PSA is ready before anything is measured."""
    parts = quick(space=None, strategy=ConstrainedEvolution(), cost_model=PSA())
    tune_model(*network, trials_per_task=2, work_dir=tmp_path, **parts)
    for number in (0, 1):
        trials = read_run(tmp_path, number).trials
        assert trials
        assert all(trial.predicted is not None for trial in trials)


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


def test_gradient_descent_brings_a_model_with_gradients_for_all_tasks(network, tmp_path):
    parts = quick(space=None, strategy=GradientDescent(n_steps=2, later_steps=2), cost_model=None)
    result = tune_model(*network, trials_per_task=2, work_dir=tmp_path, **parts)
    assert {choice.origin for choice in result.tasks} == {Origin.TUNED}


def test_a_model_without_gradients_is_refused_before_a_network_is_read():
    parts = quick(strategy=GradientDescent(), cost_model=HeronXGB())
    with pytest.raises(TypeError, match=r"with gradients beside GradientDescent .* got HeronXGB"):
        tune_model("absent.onnx", trials_per_task=2, **parts)
