"""Benchmarks that go on with a file: what was made otherwise does not stand for what is asked."""

import json
from argparse import Namespace
from collections import Counter
from types import SimpleNamespace

import first_gemm
import gpu_ranking
import kills
import numpy as np
import pretraining
import pytest
import sketch_exactness
from resuming import Rows, options_of

from mschedx.space import Resolved


def test_rows_of_other_options_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    options = options_of(Namespace(trials=64, model=None, output=path), "trials", "model")
    assert options == {"trials": 64, "model": None}
    assert Rows(path, options).rows == Rows(None, options).rows == []
    rows = [{"workload": "a"}, {"workload": "b", "options": options}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert Rows(path, options).rows == rows, "a row that does not say with which counts"
    with pytest.raises(SystemExit, match=r"other options \(trials 64, model None\)"):
        Rows(path, {"trials": 64, "model": "cpu"})


@pytest.mark.parametrize("cut", ['{"workload": "b", "sec', '{"workload": "b"}', '{"a": "\u00fc'])
def test_a_row_that_was_cut_short_is_none_and_the_next_stands_on_its_own_line(tmp_path, cut):
    path, options = tmp_path / "rows.jsonl", {"trials": 64}
    Rows(path, options).append({"workload": "a", "sketches": np.int64(3)})
    first = {"workload": "a", "sketches": 3, "options": options}
    with path.open("ab") as file:
        file.write(cut.encode()[:-1] if cut[-1] != "}" else cut.encode())
    kept = [first, {"workload": "b"}] if cut[-1] == "}" else [first]
    resumed = Rows(path, options)
    assert resumed.rows == kept
    resumed.append({"workload": "c"})
    assert Rows(path, options).rows == [*kept, {"workload": "c", "options": options}]


def test_a_space_that_did_not_open_is_opened_again(monkeypatch):
    where = {"workload": "gemm_tiny", "target": "llvm", "space": "ours"}
    failed = {**where, "sketch": "4 of them", "error": "no"}
    asked = Namespace(only="gemm_tiny", shard="0/1", target="llvm", space="ours", sketches=4)
    monkeypatch.setattr(sketch_exactness, "sketches", lambda *_: [])
    done = {sketch_exactness.key_of(row) for row in [failed] if "error" not in row}
    (opened,) = sketch_exactness.rows(asked, done)
    assert "error" not in opened
    assert sketch_exactness.current([failed, failed, opened]) == [opened]
    assert sketch_exactness.current([failed, failed]) == [failed]


def test_runs_of_another_shape_or_number_of_trials_are_not_reused(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(first_gemm, "run_tuner", lambda *asked: ran.append(asked) or 1.0)
    for shape, trials in (("8,8,8", 4), ("8,8,8", 4), ("8,8,8", 5), ("8,8,9", 4)):
        args = Namespace(shape=shape, trials=trials, seeds=1)
        first_gemm.run_all(args, ("mschedx",), tmp_path)
    assert [asked[2] for asked in ran] == [1, 4, 1, 5, 1, 4]


def test_what_several_machines_measured_is_held_out_together():
    tasks = [SimpleNamespace(workload=str(i % 5)) for i in range(10)]
    folds = pretraining.folds_of(tasks, 3)
    assert sorted(name for fold in folds for name in fold) == list("01234")
    assert all(folds)


def test_failed_records_are_no_trials(tmp_path, monkeypatch):
    (tmp_path / "f16_1024-heron").mkdir()
    records = [SimpleNamespace(trace=None, run_secs=seconds) for seconds in ([1e10], [3e-5, 2e-5])]
    found = Resolved(np.array([0, 0]), (np.array([1]), np.array([2])))
    resolver = SimpleNamespace(
        sketches=[SimpleNamespace(names=("a",))], resolve=lambda traces: found
    )
    database = SimpleNamespace(get_all_tuning_records=lambda: records)
    monkeypatch.setattr(gpu_ranking, "JSONDatabase", lambda work_dir: database)
    monkeypatch.setattr(gpu_ranking.Resolver, "of_space", lambda *_: resolver)
    (trial,) = gpu_ranking.collected(tmp_path, 48)
    assert (trial["decisions"], trial["latency_us"]) == ({"a": 2}, 25.0)


@pytest.mark.parametrize(
    ("spoilt", "killed", "status"),
    [({}, [], 0), ({"a b": 1}, [], 1), ({}, ["a record was lost"], 1)],
)
def test_faults_after_kills_are_in_the_exit_status(monkeypatch, spoilt, killed, status):
    monkeypatch.setattr("sys.argv", ["kills.py"])
    monkeypatch.setattr(kills, "spoilt", lambda *_: Counter(spoilt))
    monkeypatch.setattr(kills, "killed", lambda *_: killed)
    assert kills.main() == status
