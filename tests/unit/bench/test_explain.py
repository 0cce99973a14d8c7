"""Trials explained: of sketches that are given too, and of none."""

import math

import pytest
from stand_ins import Runner, gemm, quick

from mschedx.bench.explain import Explanation, explain
from mschedx.search import ConstrainedRandom
from mschedx.space import sketches
from mschedx.tuning import tune


def test_a_trial_is_explained_by_sketches_that_are_given(tmp_path):
    result_of = quick(Runner(), space=None, strategy=ConstrainedRandom(), cost_model="none")
    result = tune(gemm(), trials=1, work_dir=tmp_path, **result_of)
    given = sketches(result.mod, result.target)
    by_list, by_default = (explain(tmp_path, 0, space=one) for one in (given, None))
    assert by_list.predicted_s == by_default.predicted_s > 0


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
