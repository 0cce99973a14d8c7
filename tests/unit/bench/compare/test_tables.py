"""What tables of a comparison say."""

import io
from dataclasses import replace

import numpy as np
import pytest
from comparisons import comparison, invented, run
from rich.console import Console

from mschedx.bench.compare import harness, summaries, tables
from mschedx.bench.compare.page import build_page, figures
from mschedx.bench.compare.present import read_comparison
from mschedx.bench.compare.tables import all_tables
from mschedx.bench.suite import find_workloads


def test_runs_are_compared_at_trials_that_all_of_them_had(tmp_path, timed):
    _, results, _ = run(tmp_path, reference_trials=8)
    assert {result.trials for result in results} == {3, 8}
    assert summaries.shared_trials(results) == 3
    titles = [str(column.header) for column in all_tables(read_comparison(tmp_path))[2].columns]
    assert titles == ["tuner", "1 trials", "3 trials"]


@pytest.mark.parametrize(
    ("workloads", "seeds", "head"),
    [
        ("gemm_128,softmax", 2, "[95 % interval over workloads and seeds]"),
        ("gemm_128,softmax", 1, "[95 % interval over workloads]"),
        ("gemm_128", 2, "[95 % interval over seeds]"),
        ("gemm_128", 1, "[95 % interval]"),
    ],
)
def test_heads_of_tables_say_what_intervals_are_over(tmp_path, timed, workloads, seeds, head):
    run(tmp_path, workloads=find_workloads(workloads), seeds=seeds)
    titles = [str(table.title) for table in tables.all_tables(read_comparison(tmp_path))]
    heads = [title for title in titles if "[" in title]
    assert len(heads) == 4
    assert all(head in title for title in heads)


def test_tables_say_who_is_faster(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "run_cell", invented)
    results = harness.run_comparison(comparison(tmp_path))
    final = {
        name: {"heron/0": 5e-4, "heron/1": 5e-4, "tvm/0": 1e-3, "tvm/1": 1e-3, "NumPy": 2e-3,
               "peak": 1e12, "flops": 1e9}
        for name in ("gemm_128", "softmax")
    }  # fmt: skip
    console = Console(file=io.StringIO(), width=200)
    names = ["heron", "tvm"]
    console.print(tables.rate_table(final, names))
    console.print(tables.speedup_table(final, names, "tvm"))
    console.print(tables.reach_table(results, names, "tvm"))
    console.print(tables.stage_table(results, names))
    text = console.file.getvalue()
    assert "2000.0" in text, "GFLOP/s of heron"
    assert "2.00 [2.00, 2.00]" in text
    assert "2 / 1.0 s (100%)" in text, "heron is there after trial 2, in the round of second 1"
    assert "4 of 12" in text


def test_equal_wall_time_counts_what_was_known_by_then(tmp_path, monkeypatch):
    def slower(request, work_dir, host=None):
        result = invented(request, work_dir)
        return replace(result, elapsed_s=[s * 4 for s in result.elapsed_s]) if (
            request.tuner == "tvm"
        ) else result  # fmt: skip

    monkeypatch.setattr(harness, "run_cell", slower)
    results = harness.run_comparison(comparison(tmp_path))
    assert summaries.wall_moments(results) == [2.0, 8.0]
    console = Console(file=io.StringIO(), width=200)
    console.print(tables.wall_table(results, ["heron", "tvm"], "heron"))
    tvm = next(line for line in console.file.getvalue().splitlines() if " tvm " in line)
    assert "- (0)" in tvm, "after 2 s tvm knows nothing yet"
    assert "0.50 [0.50, 0.50] (2)" in tvm


def test_sooner_is_counted_from_when_a_goal_was_known(tmp_path, monkeypatch):
    def slower(request, work_dir, host=None):
        result = invented(request, work_dir)
        if request.tuner == "heron":
            return result
        late = {"latency_s": [*result.latency_s, 5e-3], "elapsed_s": [5.0, 5.0, 10.0, 20.0]}
        return replace(result, trials=4, **late)

    monkeypatch.setattr(harness, "run_cell", slower)
    results = harness.run_comparison(comparison(tmp_path))
    console = Console(file=io.StringIO(), width=200)
    console.print(tables.goal_table(results, ["heron", "tvm"], "tvm"))
    console.print(tables.goal_table(results, ["tvm"], "heron"))
    heron, tvm, worse = (s for s in console.file.getvalue().splitlines() if " of 2 workloads" in s)
    # heron has tvm's 1 ms after its second trial, in the round of second 1.
    assert "10.00 [10.00, 10.00]   20.00 [20.00, 20.00]   2 of 2 workloads" in heron
    assert "1.00 [1.00, 1.00]" in tvm
    assert "0 of 2 workloads" in worse, "tvm never is as fast as heron"


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_the_reference_reaches_its_own_best(seeds, tmp_path, monkeypatch):
    """Whatever its seeds find, and however many there are."""

    def scattered(request, work_dir, host=None):
        result = invented(request, work_dir)
        if request.tuner == "heron":
            return result
        slower = 1 + request.seed / 10
        return replace(result, latency_s=[s and s * slower for s in result.latency_s])

    monkeypatch.setattr(harness, "run_cell", scattered)
    results = harness.run_comparison(comparison(tmp_path, seeds=seeds))
    console = Console(file=io.StringIO(), width=200)
    console.print(tables.goal_table(results, ["heron", "tvm"], "tvm"))
    heron, tvm = (s.split() for s in console.file.getvalue().splitlines() if " workloads" in s)
    assert (heron[1], tvm[1]) == ("2.00", "1.00")
    assert heron[-4:] == tvm[-4:] == ["2", "of", "2", "workloads"]


def test_runs_without_a_profile_have_no_stages(tmp_path, monkeypatch):
    def run(request, work_dir, host=None):
        result = invented(request, work_dir)
        return result if request.tuner == "heron" else replace(result, stages={})

    monkeypatch.setattr(harness, "run_cell", run)
    results = harness.run_comparison(comparison(tmp_path))
    console = Console(file=io.StringIO(), width=200)
    console.print(tables.stage_table(results, ["heron", "tvm"]))
    heron, tvm = (s.split() for s in console.file.getvalue().splitlines() if " of 12" in s)
    assert heron[1:10] == ["-", "-", "-", "-", "-", "1.5", "-", "-", "3.0"]
    assert tvm[1:10] == [*"--------", "3.0"]


def test_means_say_of_how_many_workloads_they_are(tmp_path, timed, monkeypatch):
    """heron has a winner on softmax, and for one of two seeds on gemm_128."""

    def times(workload, runs, torch):
        failed = {"heron/1"} if workload.name == "gemm_128" else set()
        own = {name: 5e-4 if name.startswith("heron") else 1e-3 for name in runs}
        own = {name: seconds for name, seconds in own.items() if name not in failed}
        return {**own, "NumPy": 2e-3, "peak": 1e12, "flops": 1e9}

    monkeypatch.setattr(harness, "_time", times)
    _, _, final = run(tmp_path)
    compared = read_comparison(tmp_path)
    assert compared.final == final
    assert final["gemm_128"]["heron/1"] == np.inf
    console = Console(file=io.StringIO(), width=200)
    console.print(tables.speedup_table(final, ["heron"], "tvm"))
    console.print(tables.rate_table(final, ["heron"]))
    console.print(tables.latency_table(final, ["heron"]))
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert "heron 2.00 [2.00, 2.00] (1 of 2) gemm_128 (no winner)" in lines
    assert "gemm_128 - 500.0 - 1000" in lines
    assert "gemm_128 -" in lines
    page = build_page(compared)
    assert "2.00×" in page
    assert "heron [2.00, 2.00] (1 of 2)" in page
    (bars,) = [figure.chart for figure in figures(compared) if figure.name == "speedup-heron"]
    assert [row[0] for row in bars.rows] == ["softmax"]
