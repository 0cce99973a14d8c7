"""What runners of users say of candidates, and what is recorded of it."""

import pytest
import stand_ins
from tiny_networks import quick, two
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

import mschedx
from mschedx.measure import LocalRunner
from mschedx.record.answers import answering

ODD = [[float("inf")], [float("nan")], [0.0], [-1.0], [1e-3, float("inf")], [], None]


@derived_object
class Told(ms.runner.PyRunnerFuture):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def done(self):
        return True

    def result(self):
        return ms.runner.RunnerResult(self.seconds, None)


@derived_object
class OddRunner(ms.runner.PyRunner):
    """One millisecond for every other candidate, and what is no latency for those between."""

    def __init__(self, odd, fewer=0):
        super().__init__()
        self.odd, self.fewer, self.count = odd, fewer, 0

    def run(self, runner_inputs):
        return [self.next() for _ in range(len(runner_inputs) - self.fewer)]

    def next(self):
        self.count += 1
        return Told([1e-3] if self.count % 2 else self.odd)


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_seconds_that_are_none_are_failed_trials(tmp_path, odd):
    how = stand_ins.quick(OddRunner(odd))
    result = mschedx.tune(stand_ins.gemm(), trials=4, work_dir=tmp_path, **how)
    assert [trial.latency_s for trial in result.history] == [1e-3, None, 1e-3, None]
    failed = result.history[1]
    assert failed.reason == "other"
    assert "the runner gave" in failed.error
    again = mschedx.tune(stand_ins.gemm(), trials=4, work_dir=tmp_path, **how)
    assert again.measured == 0
    assert not [note for note in again.notes if "aside" in note]


@pytest.mark.parametrize("odd", [[float("inf")], None], ids=str)
def test_so_it_is_for_networks(tmp_path, odd):
    model, inputs = two()
    how = quick(OddRunner(odd), verify=False)
    result = mschedx.tune_model(model, inputs, trials_per_task=2, work_dir=tmp_path, **how)
    assert result.measured
    again = mschedx.tune_model(model, inputs, trials_per_task=2, work_dir=tmp_path, **how)
    assert again.measured == 0
    assert not [note for note in again.notes if "aside" in note]


def test_fewer_results_than_candidates_are_an_error(tmp_path):
    model, inputs = two()
    how = quick(OddRunner([1e-3], fewer=1), verify=False)
    with pytest.raises(RuntimeError, match=r"a result for each of \d candidates .* got \d"):
        mschedx.tune_model(model, inputs, trials_per_task=2, work_dir=tmp_path, **how)


def test_a_runner_of_our_own_and_a_name_stay_as_they_are():
    own = LocalRunner()
    assert answering(own) is own
    assert answering("local") == "local"
