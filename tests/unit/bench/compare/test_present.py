"""A folder of a comparison is read again, and what it does not say is made up for."""

from dataclasses import asdict, replace

import pytest
from comparisons import comparison, invented, run

from mschedx import cli
from mschedx.bench.compare import cell, harness
from mschedx.bench.compare.present import read_comparison
from mschedx.bench.suite import find_workloads
from mschedx.record.lines import append_lines, read_lines


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
