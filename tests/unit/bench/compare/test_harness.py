from dataclasses import replace

import pytest
from comparisons import broken, comparison, invented, run

from mschedx import cli
from mschedx.bench.compare import harness
from mschedx.bench.compare.host import HostError
from mschedx.bench.compare.present import read_comparison
from mschedx.bench.compare.tuners import find_tuners
from mschedx.bench.suite import find_workloads
from mschedx.record.errors import WorkDirError
from mschedx.record.lines import read_lines
from mschedx.record.lock import locked
from mschedx.report import png


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
    assert len(said) == 8 + 1 + 4 + 1, "what this version has run is kept"
    assert said[-1] == f"4 of 4 runs are in {tmp_path / harness.RESULTS} already"


def test_runs_of_a_users_tuner_are_done_anew_once_its_file_has_changed(
    tmp_path, timed, monkeypatch
):
    file, said = tmp_path / "a_tuner_of_ones_own.py", []
    file.write_text("def mine():\n    return {'cost_model': 'random'}\n")
    monkeypatch.syspath_prepend(tmp_path)

    def tuned():
        tuners = find_tuners("a_tuner_of_ones_own:mine,tvm")
        harness.run_comparison(comparison(tmp_path / "out", tuners=tuners, seeds=1), said.append)
        return [line.content["tuner"] for line in read_lines(tmp_path / "out" / harness.RESULTS)]

    assert tuned().count("a_tuner_of_ones_own:mine") == 2
    assert len(tuned()) == 4
    file.write_text(file.read_text().replace("random", "xgb"))
    said.clear()
    assert tuned().count("a_tuner_of_ones_own:mine") == 4
    assert said[0].startswith("runs of a_tuner_of_ones_own:mine with other code are left aside")
    assert said[1].startswith("2 of 4 runs are in ")
    said.clear()
    assert len(tuned()) == 6, "the others were kept, and now all are"
    assert [text.split(" are ")[0] for text in said] == ["4 of 4 runs"]


def test_two_processes_do_not_compare_into_one_folder(tmp_path, timed):
    run(tmp_path)
    with locked(tmp_path, "compared into", ""):
        for act in (harness.run_comparison, harness.time_winners):
            with pytest.raises(WorkDirError, match=r"is being compared into by process \d+; wait"):
                act(comparison(tmp_path))
