import json
import math
import time
from dataclasses import replace

import pytest

from mschedx.record.contents import RECORDS, TRIALS, WORKLOADS
from mschedx.record.trials import Journal, Trial, best_so_far, count_failures, read_run


def record(workload, seconds):
    return json.dumps([workload, [[[], []], seconds, {"kind": "llvm"}, []]])


def write(path, *records):
    (path / WORKLOADS).write_text('["1","x"]\n["2","y"]\n')
    (path / RECORDS).write_text("".join(r + "\n" for r in records))


def test_a_folder_of_stock_tvm_gives_latencies_and_failures(tmp_path):
    write(tmp_path, record(0, [2e-3, 4e-3]), record(0, [1e10]), record(0, [1e-3]))
    run = read_run(tmp_path)
    assert [t.latency_s for t in run.trials] == [pytest.approx(3e-3), None, 1e-3]
    assert run.failures() == {"unknown": 1}
    assert run.best.index == 2
    assert run.stages == {}


def test_workloads_are_kept_apart_and_the_larger_is_the_default(tmp_path):
    write(tmp_path, record(0, [9.0]), record(1, [1.0]), record(1, [2.0]))
    assert [t.latency_s for t in read_run(tmp_path).trials] == [1.0, 2.0]
    assert [t.record for t in read_run(tmp_path, 1).trials] == [1, 2]
    assert [t.latency_s for t in read_run(tmp_path, 0).trials] == [9.0]


@pytest.mark.parametrize("number", [-1, 1, 99])
def test_a_workload_without_trials_is_refused_with_the_numbers_of_those_that_have_some(
    tmp_path, number
):
    write(tmp_path, record(0, [9.0]), record(2, [1.0]))
    with (tmp_path / WORKLOADS).open("a") as file:
        file.write('["3","z"]\n')
    with pytest.raises(ValueError, match=rf"trials \(0, 2\), got {number}$"):
        read_run(tmp_path, number)


def test_a_folder_without_records_has_no_trials_of_any_workload(tmp_path):
    write(tmp_path)
    for number in (None, 0, 1, -1):
        run = read_run(tmp_path, number)
        assert run.trials == ()
    assert run.module is None


def test_a_session_says_what_it_was_asked_for(tmp_path):
    write(tmp_path, record(0, [1e-3]), record(1, [2e-3]))
    parts = {"space": None, "strategy": "DraftVerify"}
    Journal(tmp_path).session(1, seed=7, trials=16, parts=parts)
    assert read_run(tmp_path, 0).sessions == ()
    (session,) = read_run(tmp_path, 1).sessions
    assert 0 < session.pop("time") <= time.time()
    asked = {"seed": 7, "trials": 16, "parts": parts}
    assert session == {"kind": "session", "workload": 1, **asked}


def test_a_trial_knows_its_session_and_whether_weights_were_cold_in_it(tmp_path):
    write(tmp_path, record(0, [1e-3]), record(0, [2e-3]))
    journal = Journal(tmp_path)
    for number, cold in enumerate((False, True)):
        journal.session(0, seed=number, trials=2, parts={}, cold=cold)
        journal.trials([Trial(index=number, record=number, session=number)])
    run = read_run(tmp_path, 0)
    first, second = map(run.session_of, run.trials)
    assert ("cold" in first, second["cold"], second["seed"]) == (False, True, 1)
    assert run.session_of(replace(run.trials[0], session=2)) == {}, "its line is lost"


def test_journal_adds_what_the_database_lacks(tmp_path):
    write(tmp_path, record(0, [1e-3]), record(0, [1e10]), record(0, [5e-4]))
    journal = Journal(tmp_path)
    journal.trials(
        [
            Trial(index=0, record=0, round=0, latency_s=1e-3, elapsed_s=2.0, predicted=0.5),
            Trial(index=1, record=1, round=0, reason="crash", error="crash: SIGSEGV"),
            Trial(index=2, record=2, round=1, latency_s=5e-4),
        ]
    )
    journal.append(
        {"kind": "end", "workload": 0, "stages": {"Total": 3.0}},
        {"kind": "end", "workload": 0, "stages": {"Total": 4.0}},
        {"kind": "disqualified", "workload": 0, "record": 2, "error": "differs"},
        {"kind": "verified", "workload": 0, "record": 0},
    )
    run = read_run(tmp_path)
    assert run.trials[0].predicted == 0.5
    assert run.trials[1].error == "crash: SIGSEGV"
    assert (run.trials[2].latency_s, run.trials[2].reason) == (None, "mismatch")
    assert run.stages == {"Total": 7.0}
    assert run.verified == {0}
    assert run.best.index == 0


def test_unknown_fields_of_a_later_version_are_ignored(tmp_path):
    write(tmp_path, record(0, [1e-3]))
    line = {"kind": "trial", "index": 0, "record": 0, "workload": 0, "round": 3, "colour": "red"}
    (tmp_path / TRIALS).write_text(json.dumps(line) + "\n")
    assert read_run(tmp_path).trials[0].round == 3


def test_no_database_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=RECORDS):
        read_run(tmp_path)


def test_running_minimum_starts_at_infinity():
    trials = [Trial(index=i, record=i, latency_s=s) for i, s in enumerate([None, 3.0, 4.0, 1.0])]
    assert best_so_far(trials) == [math.inf, 3.0, 3.0, 1.0]


def test_failures_are_counted_most_frequent_first():
    reasons = ["build", "crash", None, "crash", "timeout"]
    trials = [Trial(index=i, record=i, reason=r) for i, r in enumerate(reasons)]
    assert list(count_failures(trials).items()) == [("crash", 2), ("build", 1), ("timeout", 1)]
