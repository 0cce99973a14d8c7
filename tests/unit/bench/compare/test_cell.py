"""One run of a comparison: its process, its folder, its times, its limit."""

import itertools
import json
import time
from dataclasses import asdict
from functools import partial
from types import SimpleNamespace

import psutil
import pytest
from stand_ins import Builder, Runner

import mschedx.tuning
from mschedx import compat
from mschedx.bench.compare import cell, cell_process
from mschedx.bench.compare.host import Host
from mschedx.bench.compare.tuners import TUNERS, Tuner
from mschedx.bench.suite import find_workloads
from mschedx.hardware import host_target
from mschedx.record.errors import WorkDirError
from mschedx.record.lock import locked
from mschedx.record.trials import read_run
from mschedx.workloads import Workload


def test_a_cell_that_dies_is_a_result_with_its_last_words(tmp_path):
    request = cell.Cell(Workload("bad", "gemm", (8, 8)), "heron", 0, 4)
    result = cell.run_cell(request, tmp_path)
    assert "gemm takes the sizes M,N,K" in result.error
    assert result.latency_s == []
    json.dumps(result.error)


def test_cells_forked_from_one_process_die_alone(tmp_path):
    """The host stays, and the next cell is as good as the first."""
    bad = cell.Cell(Workload("bad", "gemm", (8, 8)), "heron", 0, 4)
    with Host(cell.cell_environment()) as host:
        errors = [cell.run_cell(bad, tmp_path / str(i), host).error for i in range(2)]
        process = host._process
        assert process.poll() is None
    assert all("gemm takes the sizes M,N,K" in error for error in errors)
    assert process.returncode == 0


def test_a_run_begins_with_an_empty_folder_that_nobody_works_in(tmp_path, monkeypatch):
    request = cell.Cell(find_workloads("gemm_128")[0], "stock", 0, 4)
    (tmp_path / "database_tuning_record.json").write_text("of a run that was cut short\n")
    seen = []

    def run_new(request, log):
        seen.append(list(tmp_path.iterdir()))
        return 0, 1.0

    monkeypatch.setattr(cell, "_run_new", run_new)
    cell.run_cell(request, tmp_path)
    assert seen == [[]]
    (tmp_path / "kept").touch()
    with locked(tmp_path, "tuned into", ""), pytest.raises(WorkDirError, match="wait for it"):
        cell.run_cell(request, tmp_path)
    assert (tmp_path / "kept").exists()


def test_the_stock_pipeline_keeps_others_out_of_its_folder(tmp_path, monkeypatch):
    """The harness may have died and been started anew while its process went on."""
    from tvm.s_tir import meta_schedule as ms

    request = cell.Cell(find_workloads("gemm_128")[0], "stock", 0, 4)
    ran = []

    def tune_tir(*_, **__):
        with pytest.raises(WorkDirError, match=r"is being tuned into by .*; wait for it"):
            cell.run_cell(request, tmp_path)
        ran.append(True)

    monkeypatch.setattr(ms, "tune_tir", tune_tir)
    cell_process.tune_cell(asked(request, tmp_path))
    assert ran == [True]
    with locked(tmp_path, "tuned into", ""), pytest.raises(WorkDirError, match="wait for it"):
        cell_process.tune_cell(asked(request, tmp_path))
    assert ran == [True]


def asked(request, work_dir):
    return json.dumps({**asdict(request), "work_dir": str(work_dir)})


def test_the_making_of_a_tuner_s_parts_is_in_its_times(tmp_path, monkeypatch):
    def slow():
        time.sleep(0.3)
        return {"strategy": "made"}

    seen = {}
    monkeypatch.setitem(TUNERS, "slow", Tuner("slow", "", slow))
    monkeypatch.setattr(mschedx.tuning, "tune", lambda func, **options: seen.update(options))
    before = time.time() - psutil.Process().create_time()
    request = cell.Cell(find_workloads("gemm_128")[0], "slow", 0, 4, 7.5)
    cell_process.tune_cell(asked(request, tmp_path))
    assert float((tmp_path / cell.STARTUP).read_text()) >= before + 0.29
    assert (seen["strategy"], seen["trials"], seen["timeout_s"]) == ("made", 4, 7.5)


@pytest.mark.parametrize(("timeout_s", "rounds_run"), [(None, 4), (2.0, 2), (0.5, 1)])
def test_the_time_limit_is_for_the_stock_pipeline_too(tmp_path, monkeypatch, timeout_s, rounds_run):
    from tvm.s_tir import meta_schedule as ms

    instant = {"builder": Builder(), "runner": Runner(), "num_trials_per_iter": 2}
    search = {"strategy": "replay-trace", "cost_model": "random"}
    monkeypatch.setattr(ms, "tune_tir", partial(ms.tune_tir, **instant, **search))
    seconds = itertools.count()  # a round takes one
    clock = SimpleNamespace(time=time.time, perf_counter=lambda: float(next(seconds)))
    monkeypatch.setattr(cell_process, "time", clock)
    request = cell.Cell(find_workloads("gemm_128")[0], "stock", 0, 8, timeout_s)
    with compat.only_intrinsics(host_target()):  # half a minute of imports less
        cell_process.tune_cell(asked(request, tmp_path))
    trials = read_run(tmp_path).trials
    assert [trial.elapsed_s for trial in trials] == [
        float(1 + i // 2) for i in range(2 * rounds_run)
    ]
    assert all(trial.latency_s for trial in trials)


def test_what_the_stock_pipeline_raises_is_not_taken_for_its_end(tmp_path, monkeypatch):
    from tvm.s_tir import meta_schedule as ms

    def tune_tir(*_, **__):
        raise RuntimeError("no builder")

    monkeypatch.setattr(ms, "tune_tir", tune_tir)
    request = cell.Cell(find_workloads("gemm_128")[0], "stock", 0, 8, 0.001)
    with pytest.raises(RuntimeError, match="no builder"):
        cell_process.tune_cell(asked(request, tmp_path))
