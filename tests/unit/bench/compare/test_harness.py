import io
from dataclasses import asdict, replace
from html import escape

import numpy as np
import pytest
from rich.console import Console

from mschedx import cli
from mschedx.bench.compare import cell, harness, tables
from mschedx.bench.compare.cell import CellResult
from mschedx.bench.compare.host import HostError
from mschedx.bench.compare.page import build_page, figures
from mschedx.bench.compare.present import read_comparison
from mschedx.bench.compare.tables import all_tables
from mschedx.bench.compare.tuners import find_tuners
from mschedx.bench.suite import find_workloads
from mschedx.record.errors import WorkDirError
from mschedx.record.lines import append_lines, read_lines
from mschedx.record.lock import locked
from mschedx.report import png


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
        timeout_s=request.timeout_s, warm=request.warm,
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


def test_the_reference_may_have_another_number_of_trials(tmp_path):
    made = comparison(tmp_path, reference_trials=8)
    assert {(c.tuner, c.trials) for c in made.cells()} == {("heron", 3), ("tvm", 8)}
    held = comparison(tmp_path, reference_trials=8, reference="heron")
    assert {(c.tuner, c.trials) for c in held.cells()} == {("heron", 8), ("tvm", 3)}


def test_runs_are_compared_at_trials_that_all_of_them_had(tmp_path, timed):
    _, results, _ = run(tmp_path, reference_trials=8)
    assert {result.trials for result in results} == {3, 8}
    assert tables.shared_trials(results) == 3
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


@pytest.mark.parametrize("option", ["--trials", "--reference-trials"])
def test_no_trials_are_refused(option, tmp_path, capsys):
    assert cli.main(["compare", option, "0", "--out", str(tmp_path)]) == 2
    assert f"expected Comparison.{option[2:].replace('-', '_')} >= 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seeds": 0}, "Comparison.seeds >= 1, got 0"),
        ({"trials": 0}, "Comparison.trials >= 1, got 0"),
        ({"trials": 2.5}, "Comparison.trials >= 1, got 2.5: it is a whole number"),
        ({"reference_trials": 0}, "Comparison.reference_trials >= 1, got 0"),
        ({"first_seed": -1}, "expected seed as an int from 0"),
        ({"timeout_s": 0}, "expected timeout_s as seconds above 0"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_python_too(change, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        comparison(tmp_path, **change)


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


def test_a_helper_process_that_died_is_the_machine_s_fault(tmp_path, monkeypatch, capsys):
    def dead(*_):
        raise HostError("the process that runs the cells ended with exit status -9")

    monkeypatch.setattr(harness, "run_cell", dead)
    args = ["compare", "--workloads", "softmax", "--seeds", "1", "--out", str(tmp_path)]
    assert cli.main(args) == 3
    assert "the process that runs the cells ended" in capsys.readouterr().err


def test_charts_that_cannot_be_drawn_are_refused_before_anything_runs(
    tmp_path, monkeypatch, capsys
):
    def refuse():
        raise ValueError("PNGs are drawn with matplotlib")

    monkeypatch.setattr(png, "require_matplotlib", refuse)
    monkeypatch.setattr(harness, "run_cell", lambda *_: pytest.fail("tuning takes hours"))
    assert cli.main(["compare", "--workloads", "softmax", "--png", "--out", str(tmp_path)]) == 2
    assert cli.main(["report", str(tmp_path), "--png"]) == 2
    assert capsys.readouterr().err.count("PNGs are drawn with matplotlib") == 2


def test_names_may_stand_behind_blanks():
    assert [tuner.name for tuner in find_tuners("heron, tvm")] == ["heron", "tvm"]
    assert [one.name for one in find_workloads("softmax, gemm_128")] == ["softmax", "gemm_128"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--tuners", "nobody"], "there are heron, "),
        (["--workloads", "nothing"], "gemm_128"),
        (["--tuners", "heron", "--reference", "tvm"], "not among"),
        (["--seeds", "0"], "expected Comparison.seeds >= 1, got 0"),
        (["--timeout", "-1"], "expected timeout_s as seconds above 0"),
    ],
)
def test_bad_requests(args, says, tmp_path, capsys):
    assert cli.main(["compare", "--out", str(tmp_path), *args]) == 2
    assert says in capsys.readouterr().err


def test_list_of_tuners(capsys):
    assert cli.main(["compare", "--tuners", "list"]) == 0
    assert "stock" in capsys.readouterr().out


@pytest.fixture
def timed(monkeypatch):
    """Cells and winners of made-up seconds; which workloads' winners were timed."""
    calls = []

    def times(workload, runs, torch):
        calls.append(workload.name)
        own = {name: 5e-4 if name.startswith("heron") else 1e-3 for name in runs}
        return {**own, "NumPy": 2e-3, "peak": 1e12, "flops": 1e9}

    monkeypatch.setattr(harness, "run_cell", invented)
    monkeypatch.setattr(harness, "_time", times)
    return calls


def run(path, **changes):
    made = comparison(path, **changes)
    results = harness.run_comparison(made)
    return made, results, harness.time_winners(made)


def broken(request, work_dir, host=None):
    nothing = [None] * request.trials
    return replace(invented(request, work_dir), latency_s=nothing, error="exit status 1: no parts")


def test_a_comparison_of_which_runs_failed_says_so(tmp_path, timed, monkeypatch, capsys):
    """It has found nothing where none ran."""

    def half(request, *others):
        return (broken if request.tuner == "heron" else invented)(request, *others)

    args = ["compare", "--workloads", "softmax", "--seeds", "1", "--trials", "3"]
    for run_cell, status in ((half, 0), (broken, 1)):
        monkeypatch.setattr(harness, "run_cell", run_cell)
        assert cli.main([*args, "--out", str(tmp_path / run_cell.__name__)]) == status
        said = capsys.readouterr().err
        failed = 2 - (run_cell is half)
        assert f"mschedx: {failed} of 2 runs failed; the page ends with their last words" in said
        assert said.count("nothing ran, 3.0 s FAILED: exit status 1: no parts") == failed
        assert "inf" not in said


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


def test_page_and_tables_come_from_the_folder_alone(tmp_path, timed, capsys):
    run(tmp_path)
    assert cli.main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3, "a curve for each workload, bars for heron"
    assert "2.00×" in page
    assert "curve-softmax" not in capsys.readouterr().out, "PNGs only on request"


def test_the_page_has_all_tables_in_their_order(tmp_path, timed):
    run(tmp_path)
    compared = read_comparison(tmp_path)
    page = build_page(compared)
    titles = [escape(str(table.title)) for table in all_tables(compared)]
    places = [page.find(title) for title in titles]
    assert -1 not in places
    assert places == sorted(places)


def test_a_tuner_has_one_color_in_all_figures(tmp_path, timed):
    made, results, final = run(tmp_path, tuners=find_tuners("tvm,random,heron"))
    compared = tables.ComparisonResult(results, final, made.names, "tvm")
    curve, *_, random, heron = figures(compared)
    assert (random.name, heron.name) == ("speedup-random", "speedup-heron")
    colors = dict(curve.chart.keys)
    assert len(set(colors.values())) == 3
    assert (random.chart.color, heron.chart.color) == (colors["random"], colors["heron"])


def test_a_report_shows_what_the_last_call_compared(tmp_path, timed, monkeypatch):
    run(tmp_path)
    made, results, final = run(tmp_path, trials=5, first_seed=1, seeds=1, reference="heron")
    found = read_comparison(tmp_path)
    assert found.results == results, "of 5 trials and seed 1 alone"
    assert found.final == final
    assert (found.tuners, found.reference) == (["heron", "tvm"], "heron") == (made.names, made.over)
    harness.run_comparison(comparison(tmp_path, trials=7))
    assert not read_comparison(tmp_path).final, "these winners have not been timed yet"
    monkeypatch.setattr(harness, "run_cell", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        harness.run_comparison(comparison(tmp_path, trials=9))
    with pytest.raises(ValueError, match="no results yet of what was compared last"):
        read_comparison(tmp_path)


def test_the_reference_of_a_report_is_the_comparison_s_unless_asked(tmp_path, timed, capsys):
    run(tmp_path, reference="heron")
    folder, page = str(tmp_path), tmp_path / "report.html"
    assert cli.main(["report", folder]) == 0
    assert "ratios are over heron" in page.read_text()
    assert cli.main(["report", folder, "--reference", "tvm"]) == 0
    assert "ratios are over tvm" in page.read_text()
    assert cli.main(["report", folder, "--reference", "nobody"]) == 2
    assert "--reference nobody is not among heron, tvm" in capsys.readouterr().err
    assert cli.main(["report", folder, "--workload", "0"]) == 2
    assert "is a comparison" in capsys.readouterr().err


def test_a_folder_that_does_not_say_what_was_compared_is_read(tmp_path):
    for trials in (2, 3):
        for name in ("tvm", "heron"):
            request = cell.Cell(find_workloads("softmax")[0], name, 1, trials)
            line = asdict(replace(invented(request, tmp_path), key=f"{name}-{trials}"))
            del line["timeout_s"], line["warm"]
            append_lines(tmp_path / harness.RESULTS, [line])
    seconds = {"heron/1": 5e-4, "tvm/1": 1e-3, "peak": 1e12, "flops": 1e9}
    entry = {"workload": "softmax", "runs": ["heron/1", "tvm/1"], "seconds": seconds}
    append_lines(tmp_path / harness.FINAL, [entry])
    found = read_comparison(tmp_path)
    assert [result.key for result in found.results] == ["tvm-3", "heron-3"]
    assert found.final == {"softmax": seconds}
    assert (found.tuners, found.reference) == (["tvm", "heron"], "heron")
    assert cli.main(["report", str(tmp_path), "--reference", "tvm"]) == 0
    assert "2.00×" in (tmp_path / "report.html").read_text()


def test_what_other_versions_have_written_is_left_out_and_counted(tmp_path, timed, capsys):
    """Of a later one with a field more all is known; an earlier one lacks some."""
    _, results, _ = run(tmp_path)
    lines = [asdict(result) for result in results]
    earlier = {name: value for name, value in lines[0].items() if name != "stages"}
    whole = (tmp_path / harness.RESULTS).read_text()
    (tmp_path / harness.RESULTS).write_text("")
    later = [{**line, "joules": 3.0} for line in lines]
    append_lines(tmp_path / harness.RESULTS, [earlier, 7, *later])
    append_lines(tmp_path / harness.FINAL, [{"workload": "softmax", "times": {}}, [1]])
    said = []
    assert harness.read_results(tmp_path, said.append) == results
    assert said == [
        f"{tmp_path / harness.RESULTS}: left out are 2 lines that are no results of this version"
    ]
    assert cli.main(["report", str(tmp_path)]) == 0
    assert said[0] in capsys.readouterr().err
    assert "2.00×" in (tmp_path / "report.html").read_text()
    assert run(tmp_path)[1] == results, "none is run again"
    assert timed == ["gemm_128", "softmax"], "nor timed"
    (tmp_path / harness.ASKED).write_text("[]")
    assert read_comparison(tmp_path).tuners == ["heron", "tvm"]
    assert len(read_lines(tmp_path / harness.RESULTS)) == len(whole.splitlines()) + 2


def test_a_folder_without_results_is_said_to_be_one(tmp_path, capsys):
    (tmp_path / harness.RESULTS).touch()
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "has no results yet" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"trials": 4}, {"timeout_s": 5.0}, {"warm": True}])
def test_what_was_run_otherwise_is_run_and_timed_anew(tmp_path, timed, change):
    _, before, _ = run(tmp_path)
    _, after, _ = run(tmp_path, **change)
    assert not {r.key for r in before} & {r.key for r in after}
    assert timed == ["gemm_128", "softmax"] * 2
    run(tmp_path, **change)
    assert len(timed) == 4, "and no third time"
    assert len(read_lines(tmp_path / harness.RESULTS)) == 16


def test_a_run_that_failed_is_run_again_and_its_winner_timed_again(tmp_path, timed, monkeypatch):
    walls = iter(range(1, 100))

    def failing(request, work_dir, host=None):
        error = "killed" if request.workload.name == "softmax" and len(timed) == 0 else None
        return replace(invented(request, work_dir), wall_s=float(next(walls)), error=error)

    monkeypatch.setattr(harness, "run_cell", failing)
    run(tmp_path, seeds=1)
    results = run(tmp_path, seeds=1)[1]
    assert [r.error for r in results] == [None] * 4
    assert timed == ["gemm_128", "softmax", "softmax"]
    assert read_comparison(tmp_path).results == results, "the last line of a cell counts"
    assert len(read_lines(tmp_path / harness.RESULTS)) == 6


def test_runs_of_another_version_are_not_compared_with_those_of_this_one(tmp_path, monkeypatch):
    def of(version):
        def run(request, work_dir, host=None):
            return replace(invented(request, work_dir), machine={"mschedx": version})

        monkeypatch.setattr(harness, "run_cell", run)
        monkeypatch.setattr("mschedx.bench.collect.this_machine", lambda: {"mschedx": version})

    said = []
    of("1")
    harness.run_comparison(comparison(tmp_path), said.append)
    of("2")
    harness.run_comparison(comparison(tmp_path, seeds=1), said.append)
    assert len(said) == 8 + 1 + 4
    assert "another machine or version" in said[8]
    assert {one.machine["mschedx"] for one in harness.read_results(tmp_path)} == {"2"}
    harness.run_comparison(comparison(tmp_path, seeds=1), said.append)
    assert len(said) == 8 + 1 + 4, "what this version has run is kept"


def test_two_processes_do_not_compare_into_one_folder(tmp_path, timed):
    run(tmp_path)
    with locked(tmp_path, "compared into", ""):
        for act in (harness.run_comparison, harness.time_winners):
            with pytest.raises(WorkDirError, match=r"is being compared into by process \d+; wait"):
                act(comparison(tmp_path))


def test_a_tuner_keeps_what_it_finds_in_its_last_round():
    found = invented(cell.Cell(find_workloads("softmax")[0], "tvm", 0, 3), None)
    result = replace(found, elapsed_s=[1.0, 1.0, 2.04])
    (end,) = tables.wall_moments([result])
    assert end == 2.1
    assert tables._bests_within([result], end)["softmax"].tolist() == [1e-3]


def test_curves_are_compared_at_equal_trials(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "run_cell", invented)
    results = harness.run_comparison(comparison(tmp_path))
    found = tables.curve_speedups(results, ["heron", "tvm"], "tvm", [1, 2, 3])
    assert np.isnan(found["heron"][0].value), "no first trial ran"
    assert [f.value for f in found["heron"][1:]] == pytest.approx([2.0, 2.0])
    assert tables.moments(64) == [16, 32, 64]
    assert tables.moments(1) == [1]
