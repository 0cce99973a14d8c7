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
