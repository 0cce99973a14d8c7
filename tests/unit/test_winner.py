"""Which record wins: the fastest whose output is right, and none is lost on the way."""

import pytest
from stand_ins import Runner, answers, gemm, quick
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

import mschedx.inputs
import mschedx.winner
from mschedx.inputs import normalize_mod
from mschedx.tuning import tune

HASWELL = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})


def test_a_wrong_winner_is_disqualified_also_for_stock_tvm(tmp_path, monkeypatch):
    class Answer:
        checked = ran = True

        def __init__(self, ok):
            self.ok, self.reason = ok, "" if ok else "largest difference 7"

    asked = []

    def verify(candidate, reference, target):
        asked.append(candidate)
        return Answer(len(asked) > 1)

    monkeypatch.setattr(mschedx.winner.measure, "verify", verify)
    options = {**quick(Runner([4, 1, 3, 2])), "verify": True}
    result = tune(gemm(), trials=4, work_dir=tmp_path, **options)
    assert result.latency_s == pytest.approx(2e-3)
    assert result.verified
    assert result.history[1].reason == "mismatch"
    assert "largest difference 7" in result.history[1].error
    assert any("disqualified" in note for note in result.notes)
    database = ms.database.JSONDatabase(work_dir=str(tmp_path))
    workload = database.commit_workload(normalize_mod(gemm()))
    assert float(database.get_top_k(workload, 1)[0].run_secs[0]) == pytest.approx(2e-3)

    again = tune(gemm(), trials=4, work_dir=tmp_path, **options)
    assert again.verified
    assert again.latency_s == result.latency_s
    assert len(asked) == 2, "a checked winner is not run again"


def test_records_that_do_not_run_here_stay_and_the_fastest_is_unchecked(tmp_path, monkeypatch):
    first = tune(gemm(), trials=12, work_dir=tmp_path, **quick(Runner()))
    before = (tmp_path / "database_tuning_record.json").read_bytes()
    asked = []

    def verify(*_):
        asked.append(1)
        return answers(False, "the candidate could not be run: crash: SIGILL")

    monkeypatch.setattr(mschedx.winner.measure, "verify", verify)
    again = tune(gemm(), trials=0, work_dir=tmp_path, target=HASWELL, progress=False)
    assert (tmp_path / "database_tuning_record.json").read_bytes() == before
    assert (again.predicted, again.verified) == (False, False)
    assert again.latency_s == first.latency_s
    assert again.failures == {}
    assert any("SIGILL" in note for note in again.notes)
    assert any("could not be checked" in note for note in again.notes)
    assert len(asked) < 12, "a machine that runs none of many runs none of the others"


def test_a_record_that_does_not_run_here_is_passed_over_and_stays(tmp_path, monkeypatch):
    tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([4, 1, 3, 2])))
    said = iter([answers(False, "crash: SIGILL"), answers(True, "largest difference 7")])

    class Right:
        ok = checked = ran = True
        reason = ""

    monkeypatch.setattr(mschedx.winner.measure, "verify", lambda *_: next(said, Right()))
    result = tune(gemm(), trials=0, work_dir=tmp_path, target=HASWELL, progress=False)
    assert (result.latency_s, result.verified) == (pytest.approx(3e-3), True)
    assert [trial.reason for trial in result.history] == [None, None, None, "mismatch"]
    assert "trial 1 (1000.0 us) does not run here and is passed over: crash: SIGILL" in result.notes


def test_ctrl_c_while_the_winner_is_checked_keeps_it_unchecked(tmp_path, monkeypatch):
    def verify(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mschedx.winner.measure, "verify", verify)
    options = {**quick(Runner([4, 1, 3, 2])), "verify": True}
    result = tune(gemm(), trials=4, work_dir=tmp_path, **options)
    assert (result.interrupted, result.verified) == (True, False)
    assert result.latency_s == pytest.approx(1e-3)
    assert any("not compared: interrupted" in note for note in result.notes)


def test_a_winner_that_cannot_be_checked_is_kept_and_said_to_be_unchecked(tmp_path, monkeypatch):
    class Unknown:
        ok, checked, ran, reason = False, False, False, "no such device"

    monkeypatch.setattr(mschedx.winner.measure, "verify", lambda *_: Unknown())
    options = {**quick(Runner([1] * 4)), "verify": True}
    result = tune(gemm(), trials=4, work_dir=tmp_path, **options)
    assert result.schedule is not None
    assert not result.verified
    assert any("no such device" in note for note in result.notes)


@pytest.mark.parametrize("broken", [1, 4])
def test_a_record_whose_trace_does_not_apply_is_passed_over(tmp_path, monkeypatch, broken):
    tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([4, 1, 3, 2])))
    real, asked = mschedx.winner.replay, []

    def replay(trace, mod):
        asked.append(trace)
        if len(asked) <= broken:
            Schedule(mod).get_sblock("absent")
        return real(trace, mod)

    monkeypatch.setattr(mschedx.winner, "replay", replay)
    result = tune(gemm(), trials=0, work_dir=tmp_path, verify=False, target=HASWELL, progress=False)
    said = [note for note in result.notes if "cannot be replayed here and is passed over" in note]
    assert len(said) == broken
    assert said[0].startswith("trial 1 (1000.0 us) cannot be replayed")
    assert "absent" in said[0]
    assert result.failures == {}
    assert result.predicted is (broken == 4)
    assert broken == 4 or result.latency_s == pytest.approx(2e-3)
