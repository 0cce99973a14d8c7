"""A batch of the runner, with what its worker answers given."""

from types import SimpleNamespace

import pytest

from mschedx.measure import MeasureConfig, runner
from mschedx.measure.pool import JobOutcome, PoolConfig
from mschedx.measure.timing import Timing

CONFIG = PoolConfig(workers=1, cores=1, memory_bytes=1 << 30)
SLOW = Timing(latency_s=3.0, repeats_s=(3.0,), cut=True)


@pytest.fixture
def batch(monkeypatch):
    """Make a batch of one candidate whose worker gives these answers, one a pass."""

    def make(*answers):
        given = iter(answers)

        def carry_out(config, jobs, *, done, **_):
            for position, job in enumerate(jobs):
                job()
                done(position, next(given))

        monkeypatch.setattr(runner, "carry_out", carry_out)
        item = SimpleNamespace(artifact_path="x.so", device_type="cpu", args_info=[])
        made = runner._RunBatch(CONFIG, MeasureConfig(), 10.0, [item])
        made.run()
        return made.result(0)

    return make


def test_a_candidate_too_long_to_be_timed_in_full_keeps_what_was_seen_of_it(batch):
    late = JobOutcome(error="timeout: stopped after 10 s")
    result = batch(JobOutcome(value=SLOW), late)
    assert result.error_msg is None
    assert [float(s) for s in result.run_secs] == [3.0]


def test_a_candidate_that_never_ends_has_failed(batch):
    assert batch(JobOutcome(error="timeout: stopped after 10 s")).error_msg.startswith("timeout")


def test_one_that_crashes_when_it_is_timed_in_full_has_failed(batch):
    crash = JobOutcome(error="crash: SIGSEGV")
    assert batch(JobOutcome(value=SLOW), crash).error_msg == "crash: SIGSEGV"


class Kernels:
    """A worker that times candidates whose every run takes the given seconds; counts its jobs."""

    def __init__(self, *seconds):
        self.seconds = dict(enumerate(seconds))
        self.timed = []

    def carry_out(self, config, jobs, *, done, **_):
        for position, job in enumerate(jobs):
            path, _, _, settings, best_s = job().args
            number = int(path)
            self.timed.append(number)
            run_s = self.seconds[number]
            cut = run_s >= 0.02 if best_s is None else run_s > settings.slow_cutoff * best_s
            seen = Timing(latency_s=run_s, repeats_s=(run_s,), cut=cut)
            done(position, JobOutcome(value=seen))


@pytest.fixture
def run_batch(monkeypatch):
    """Time candidates whose runs take these seconds: the places of those asked for, in order."""

    def run(*seconds):
        kernels = Kernels(*seconds)
        monkeypatch.setattr(runner, "carry_out", kernels.carry_out)
        items = [
            SimpleNamespace(artifact_path=str(i), device_type="cpu", args_info=[])
            for i in range(len(seconds))
        ]
        made = runner._RunBatch(CONFIG, MeasureConfig(), 10.0, items)
        made.run()
        latencies = [float(made.result(i).run_secs[0]) for i in range(len(seconds))]
        assert latencies == list(seconds)
        return kernels.timed

    return run


def test_of_slow_candidates_alone_the_fastest_decides_what_deserves_to_be_timed_in_full(run_batch):
    """All took too long while there was no best; 5 s is not worth it beside 0.1 s."""
    assert run_batch(5.0, 0.1) == [0, 1, 1]


def test_a_slow_candidate_alone_is_timed_in_full(run_batch):
    assert run_batch(5.0) == [0, 0]


def test_slow_candidates_of_like_speed_are_timed_in_full_the_fastest_first(run_batch):
    assert run_batch(0.3, 0.2, 0.7, 0.25) == [0, 1, 2, 3, 1, 3, 0]


def test_a_best_that_comes_later_judges_those_before(run_batch):
    assert run_batch(0.03, 5.0, 0.015, 0.04) == [0, 1, 2, 3, 0]


def test_a_candidate_that_is_cut_when_timed_again_keeps_its_faster_run(batch):
    slower = Timing(latency_s=30.0, repeats_s=(30.0,), cut=True)
    result = batch(JobOutcome(value=SLOW), JobOutcome(value=slower))
    assert [float(s) for s in result.run_secs] == [3.0]
