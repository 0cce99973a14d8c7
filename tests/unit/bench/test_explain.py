"""Trials explained: of sketches that are given too, and of none."""

import json
import math

import pytest
import tiny_networks
from stand_ins import Runner, gemm, quick

from mschedx import tune_model
from mschedx.bench.explain import Explanation, explain
from mschedx.record.contents import TRIALS
from mschedx.search import ConstrainedRandom
from mschedx.space import sketches
from mschedx.tuning import tune


def test_a_trial_is_explained_by_sketches_that_are_given(tmp_path):
    result_of = quick(Runner(), space=None, strategy=ConstrainedRandom(), cost_model="none")
    result = tune(gemm(), trials=1, work_dir=tmp_path, **result_of)
    given = sketches(result.mod, result.target)
    by_list, by_default = (explain(tmp_path, 0, space=one) for one in (given, None))
    assert by_list.predicted_s == by_default.predicted_s > 0


def test_the_space_of_a_trial_is_that_of_its_session(tmp_path):
    ours = quick(Runner(), space=None, strategy=ConstrainedRandom(), cost_model="none")
    tune(gemm(), trials=1, work_dir=tmp_path, **ours)
    tune(gemm(), trials=2, work_dir=tmp_path, **quick(Runner(), space="post-order-apply"))
    for trial, space in enumerate((None, "post-order-apply")):
        assert explain(tmp_path, trial) == explain(tmp_path, trial, space=space)
    with pytest.raises(ValueError, match="trial 0 is not of this space"):
        explain(tmp_path, 0, space="post-order-apply")


@pytest.mark.parametrize("own", [("strategy",), ("builder", "runner")], ids=["drafted", "measured"])
def test_what_was_drafted_or_measured_with_cold_weights_is_explained_so(tmp_path, monkeypatch, own):
    monkeypatch.setattr("mschedx.networks.job.weights_are_cold", lambda *_: True)
    network = tiny_networks.two(width=64)
    parts = tiny_networks.quick(space=None, strategy=ConstrainedRandom(), cost_model="none")
    parts.update(dict.fromkeys(own), verify=False)
    tune_model(*network, trials_per_task=1, work_dir=tmp_path, **parts)
    journal = tmp_path / TRIALS
    cold = explain(tmp_path, 0, 0)
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line.pop("cold") for line in lines if line["kind"] == "session"] == [True, True]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    warm = explain(tmp_path, 0, 0)
    assert (cold.cold, warm.cold) == (True, False)
    assert cold.predicted_s > warm.predicted_s
    assert ", weights from memory\n" in str(cold)
    assert "memory" not in str(warm).splitlines()[0]


def test_a_network_whose_weights_stay_is_explained_with_warm_ones(tmp_path):
    parts = tiny_networks.quick(strategy=None)
    tune_model(*tiny_networks.two(), trials_per_task=1, work_dir=tmp_path, **parts)
    assert not explain(tmp_path, 0, 0).cold
    assert '"cold"' not in (tmp_path / TRIALS).read_text()


@pytest.mark.parametrize(
    ("predicted_s", "says"),
    [(2e-6, "trial 3: measured 40 us, predicted 2 us\n  without C: of it"),
     (math.inf, "trial 3: measured 40 us, predicted -\n  without C: of it")],
)  # fmt: skip
def test_what_a_prediction_is_without_stands_below_its_reasons(predicted_s, says):
    found = Explanation(3, 40e-6, predicted_s, (), ("without C: of it",), "for i in range(4)")
    assert str(found).startswith(says)


def test_a_workload_without_trials_says_so(tmp_path):
    tune(gemm(), trials=1, work_dir=tmp_path, **quick(Runner()))
    (tmp_path / "mschedx_trials.jsonl").unlink()
    (tmp_path / "database_tuning_record.json").write_text("")
    with pytest.raises(ValueError, match="a trial of a workload that has some, got 0"):
        explain(tmp_path, 0)
