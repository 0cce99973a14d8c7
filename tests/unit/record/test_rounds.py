import errno
import json

import numpy as np
import pytest
from stand_ins import Builder, Runner, gemm, quick
from tvm import IRModule
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from mschedx.measure.failures import MachineTrouble
from mschedx.record.contents import RECORDS, TRIALS, read_contents
from mschedx.record.rounds import Appended, Round
from mschedx.search.as_it_is import unscheduled_candidate
from mschedx.tuning import tune


@pytest.mark.parametrize(
    ("added", "kept"),
    [
        (b"", b""),
        (b"[1]\n", b"[1]\n"),
        (b"[1]\n[2", b"[1]\n"),
        (b"[1]\n[2][3]\n[4]\n", b"[1]\n"),
        (b"[1]\n[2]", b"[1]\n"),
    ],
)
def test_records_that_did_not_arrive_are_an_error_and_the_rest_is_kept(tmp_path, added, kept):
    file = tmp_path / "f"
    file.write_bytes(b"[0]\n")
    watch = Appended(file)
    with file.open("ab") as opened:
        opened.write(added)
    with pytest.raises(OSError, match=rf"{kept.count(b'[')} of 3 records were written.*{file}"):
        watch.check(3)
    assert file.read_bytes() == b"[0]\n" + kept


def test_each_round_is_looked_at_by_itself(tmp_path):
    file = tmp_path / "f"
    watch = Appended(file)
    for count in (1, 3, 0):
        with file.open("ab") as opened:
            opened.write(b"[1]\n" * count)
        watch.check(count)


def test_a_round_commits_what_ran_and_what_failed():
    mod, target = IRModule({"main": gemm()}), Target({"kind": "llvm", "num-cores": 2})
    candidates = [unscheduled_candidate(mod) for _ in range(2)]
    ran = [ms.runner.RunnerResult([2e-3, 4e-3], None), ms.runner.RunnerResult(None, "crash")]
    database = ms.database.MemoryDatabase()
    Round(None, 0, candidates, [], ran).commit(database, mod, target)
    records = database.get_all_tuning_records()
    assert sorted([float(s) for s in one.run_secs] for one in records) == [[2e-3, 4e-3], [1e10]]
    workload = database.commit_workload(mod)
    assert all(one.workload.same_as(workload) and len(one.args_info) == 3 for one in records)


@derived_object
class Breaking(ms.builder.PyBuilder):
    """A builder whose second batch meets a full disk."""

    def __init__(self):
        super().__init__()
        self.batches = 0

    def build(self, build_inputs):
        self.batches += 1
        if self.batches == 2:
            raise MachineTrouble("No space left on device: '/tmp/x'")
        return Builder().build(build_inputs)


def test_trouble_of_the_machine_ends_the_run_and_leaves_no_trials(tmp_path):
    options = quick(Runner([4, 1, 3, 2]), builder=Breaking())
    with pytest.raises(MachineTrouble, match=r"^machine: No space left on device: '/tmp/x'"):
        tune(gemm(), trials=12, work_dir=tmp_path, **options)
    contents = read_contents(tmp_path)
    assert len(contents.records) == 4
    assert sum(entry["kind"] == "trial" for entry in contents.journal) == 4
    assert not contents.left_out
    result = tune(gemm(), trials=8, work_dir=tmp_path, **quick(Runner()))
    assert (result.measured, result.failures) == (4, {})


def test_a_journal_that_cannot_be_written_ends_the_run_with_its_name(tmp_path, monkeypatch):
    def full(path, contents):
        if any(entry["kind"] == "trial" for entry in contents):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("mschedx.record.trials.append_lines", full)
    with pytest.raises(OSError, match=TRIALS) as caught:
        tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner()))
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / RECORDS).read_bytes() == b""


def test_entries_are_written_before_their_records(tmp_path, monkeypatch):
    records = []

    def note(self, trials):
        file = tmp_path / RECORDS
        records.append(file.read_bytes().count(b"\n") if file.exists() else 0)

    monkeypatch.setattr("mschedx.record.trials.Journal.trials", note)
    tune(gemm(), trials=8, work_dir=tmp_path, **quick(Runner()))
    assert records == [0, 4]
    assert json.loads((tmp_path / RECORDS).read_text().splitlines()[7])[0] == 0


@derived_object
class Endless(ms.cost_model.PyCostModel):
    """A model whose predictions are no numbers."""

    def load(self, path):
        pass

    def save(self, path):
        pass

    def update(self, context, candidates, results):
        pass

    def predict(self, context, candidates):
        return np.resize([-np.inf, np.nan, 1.0], len(candidates))


def test_predictions_that_are_no_numbers_cost_no_entry(tmp_path):
    result = tune(gemm(), trials=8, work_dir=tmp_path, **quick(Runner(), cost_model=Endless()))
    contents = read_contents(tmp_path)
    assert not contents.left_out
    assert sum(entry["kind"] == "trial" for entry in contents.journal) == 8
    assert [trial.predicted for trial in result.history[4:]] == [None, None, 1.0, None]
