import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from mschedx import cli
from mschedx.bench.compare import cell, harness, tables
from mschedx.bench.compare.cell import CellResult
from mschedx.bench.compare.host import Host
from mschedx.bench.compare.tuners import find_tuners
from mschedx.bench.suite import find_workloads
from mschedx.record.lines import append_lines
from mschedx.workloads import Workload


def comparison(path, **changes):
    options = {
        "workloads": find_workloads("gemm_128,softmax"),
        "tuners": find_tuners("heron,tvm"),
        "seeds": 2,
        "trials": 3,
        "path": path,
    }
    return harness.Comparison(**{**options, **changes})


def invented(request, work_dir, host=None):
    factor = 0.5 if request.tuner == "heron" else 1.0
    return CellResult(
        key=request.key, workload=request.workload.name, tuner=request.tuner, seed=request.seed,
        trials=request.trials, latency_s=[None, 2e-3 * factor, 1e-3 * factor],
        elapsed_s=[1.0, 1.0, 2.0], wall_s=3.0, stages={"build": 1.5}, failures={"crash": 1},
    )  # fmt: skip


def test_cells_take_turns_and_no_tuner_is_always_first(tmp_path):
    cells = list(comparison(tmp_path).cells())
    assert len({c.key for c in cells}) == len(cells) == 8
    assert [c.seed for c in cells] == [0] * 4 + [1] * 4
    assert {c.tuner for c in cells[::2]} == {"heron", "tvm"}
    for a, b in zip(cells[::2], cells[1::2]):
        assert a.workload == b.workload
        assert a.tuner != b.tuner


def test_a_comparison_in_pieces_has_the_cells_of_the_whole(tmp_path):
    pieces = [comparison(tmp_path, seeds=1, first_seed=seed) for seed in range(2)]
    keys = [cell.key for piece in pieces for cell in piece.cells()]
    assert keys == [cell.key for cell in comparison(tmp_path).cells()]


def test_results_are_kept_and_a_second_call_runs_only_what_is_missing(tmp_path, monkeypatch):
    ran = []

    def run(request, work_dir, host):
        ran.append(request.key)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return invented(request, work_dir)

    monkeypatch.setattr(harness, "run_cell", run)
    with pytest.raises(KeyboardInterrupt):
        harness.run_comparison(comparison(tmp_path))
    with (tmp_path / harness.RESULTS).open("a") as file:
        file.write('{"key": "cut sho')
    results = harness.run_comparison(comparison(tmp_path, seeds=1))
    assert ran[3:] == ran[2:3] + [c.key for c in list(comparison(tmp_path).cells())[3:4]]
    assert [r.key for r in results] == [c.key for c in comparison(tmp_path, seeds=1).cells()]
    count = len(ran)
    harness.run_comparison(comparison(tmp_path, seeds=1))
    assert len(ran) == count, "what follows a line cut short is whole"


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
    assert tables.wall_moments(results) == [2.0, 8.0]
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
    heron, tvm, worse = (s for s in console.file.getvalue().splitlines() if " workloads" in s)
    # heron has tvm's 1 ms after its second trial, in the round of second 1.
    assert "10.00 [10.00, 10.00]   20.00 [20.00, 20.00]   2 of 2 workloads" in heron
    assert "1.00 [1.00, 1.00]" in tvm
    assert "0 of 2 workloads" in worse, "tvm never is as fast as heron"


def test_a_cell_that_dies_is_a_result_with_its_last_words(tmp_path):
    request = cell.Cell(Workload("bad", "gemm", (8, 8)), "heron", 0, 4)
    result = cell.run_cell(request, tmp_path)
    assert "gemm takes the sizes M,N,K" in result.error
    assert result.latency_s == []
    json.dumps(result.error)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--tuners", "nobody"], "there are heron, "),
        (["--workloads", "nothing"], "gemm_128"),
        (["--tuners", "heron", "--reference", "tvm"], "not among"),
        (["--seeds", "0"], "at least 1"),
    ],
)
def test_bad_requests(args, says, tmp_path, capsys):
    assert cli.main(["compare", "--out", str(tmp_path), *args]) == 2
    assert says in capsys.readouterr().err


def test_list_of_tuners(capsys):
    assert cli.main(["compare", "--tuners", "list"]) == 0
    assert "stock" in capsys.readouterr().out


def test_cells_forked_from_one_process_die_alone(tmp_path):
    """The host stays, and the next cell is as good as the first."""
    bad = cell.Cell(Workload("bad", "gemm", (8, 8)), "heron", 0, 4)
    with Host(cell.cell_environment()) as host:
        errors = [cell.run_cell(bad, tmp_path / str(i), host).error for i in range(2)]
        process = host._process
        assert process.poll() is None
    assert all("gemm takes the sizes M,N,K" in error for error in errors)
    assert process.returncode == 0


def test_page_and_tables_come_from_the_folder_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harness, "run_cell", invented)
    harness.run_comparison(comparison(tmp_path))
    for name in ("gemm_128", "softmax"):
        seconds = {"heron/0": 5e-4, "tvm/0": 1e-3, "peak": 1e12, "flops": 1e9}
        entry = {"workload": name, "runs": ["heron/0", "tvm/0"], "seconds": seconds}
        append_lines(tmp_path / harness.FINAL, [entry])
    assert cli.main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3, "a curve for each workload, bars for heron"
    assert "2.00×" in page
    assert "curve-softmax" not in capsys.readouterr().out, "PNGs only on request"


def test_curves_are_compared_at_equal_trials(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "run_cell", invented)
    results = harness.run_comparison(comparison(tmp_path))
    found = tables.curve_speedups(results, ["heron", "tvm"], "tvm", [1, 2, 3])
    assert np.isnan(found["heron"][0].value), "no first trial ran"
    assert [f.value for f in found["heron"][1:]] == pytest.approx([2.0, 2.0])
    assert tables.moments(64) == [16, 32, 64]
    assert tables.moments(1) == [1]
