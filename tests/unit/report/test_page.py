import json
import re
from dataclasses import replace

import numpy as np
import pytest
from stand_ins import Runner, gemm, quick
from tvm.target import Target

from mschedx import cli
from mschedx.hardware import Hardware
from mschedx.record.trials import Run, Trial
from mschedx.report import trials_table
from mschedx.report.analysis import Report, analyse_run, group_stages
from mschedx.report.decisions import decision_values
from mschedx.report.figures import prediction
from mschedx.report.page import build_page
from mschedx.report.trials_table import config_text
from mschedx.tuning import tune


@pytest.fixture
def tuned(tmp_path):
    latencies = [None, 4, 3, 2, *np.linspace(1.9, 1.1, 12)]
    tune(gemm(), trials=16, work_dir=tmp_path, **quick(Runner(latencies)))
    return tmp_path


def headings(page):
    return re.findall(r"<h2>([^<]*)</h2>", page)


def test_page_shows_the_run_and_fetches_nothing(tuned):
    page = build_page(analyse_run(tuned, calibrate=False))
    assert headings(page)[:4] == ["Tuning curve", "Against time", "Where time went", "Failures"]
    assert "Which decisions mattered" in page
    assert "1.1 ms" in page
    assert "took too long" in page
    assert "compile_tir" in page
    assert "T.parallel" in page or "T.grid" in page
    outside = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?(http[^"\')]*)', page)
    assert outside == []
    assert page.count("<section>") == page.count("</section>")


def test_command_writes_the_page(tuned, capsys):
    assert cli.main(["report", str(tuned), "--no-calibrate"]) == 0
    assert capsys.readouterr().out.strip() == str(tuned / "report.html")
    assert (tuned / "report.html").read_text().startswith("<!doctype html>")


def test_a_folder_without_records_is_a_bad_request(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "database_tuning_record.json" in capsys.readouterr().err


def test_a_target_whose_tag_is_not_registered_is_read_by_its_attributes(tmp_path):
    target = {**json.loads(str(Target("nvidia/nvidia-a100"))), "tag": ""}
    tagged = {**target, "tag": "mine/gpu"}
    tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([1]), target=tagged))
    hardware = analyse_run(tmp_path, calibrate=False).hardware
    assert hardware == Hardware.from_target(Target(target))


def test_a_run_where_all_failed_has_a_page(tmp_path):
    tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([None] * 4)))
    page = build_page(analyse_run(tmp_path, calibrate=False))
    assert headings(page)[0] == "No kernel was found"
    assert "None of 4 trials gave a latency: 4 × timeout." in page
    assert "No trial ran" in page
    assert "4 of 4 trials failed" in page


@pytest.mark.parametrize(
    "error", [IndexError("indexing 3 on an array of size 2"), KeyError("A"), RuntimeError("other")]
)
def test_a_record_that_does_not_replay_costs_the_page_its_program_alone(error, tuned, monkeypatch):
    def refuse(*_):
        raise error

    monkeypatch.setattr("mschedx.record.schedules.replay", refuse)
    report = analyse_run(tuned, calibrate=False)
    assert (report.scheduled, len(report.trace)) == ("", 1)
    assert report.trace[0].startswith("# this record does not replay here: ")
    assert "Which decisions mattered" in build_page(report)


def test_thousands_of_trials_are_quick_and_small(tmp_path):
    rng = np.random.default_rng(0)
    trials = tuple(
        Trial(
            index=i,
            record=i,
            latency_s=None if i % 10 == 0 else float(rng.lognormal(-6)),
            reason="timeout" if i % 10 == 0 else None,
            predicted=float(rng.random()),
        )
        for i in range(5000)
    )
    run = Run(tmp_path, {}, trials, {"Total": 10.0, "SendToBuilder": 4.0}, (), frozenset(), 0)
    report = Report(
        run=run, target={"kind": "llvm"}, flops=1e9, bytes_moved=1e6,
        stages=group_stages(run.stages), importance=[], hardware=None, arguments=[],
        unscheduled="", scheduled="", trace=[],
    )  # fmt: skip
    page = build_page(report)
    assert len(page) < 3e6
    assert "Predicted and measured" in headings(page)


def test_decisions_are_named_of_the_trials_that_are_listed_alone(tuned, monkeypatch):
    named = []

    def noted(trace):
        named.append(trace)
        return decision_values(trace)

    monkeypatch.setattr(trials_table, "MOST_ROWS", 2)
    monkeypatch.setattr(trials_table, "decision_values", noted)
    report = analyse_run(tuned, calibrate=False)
    page = build_page(report)
    assert "The 2 fastest of 16 are listed" in page
    fastest = sorted(report.run.trials, key=lambda one: one.latency_s or np.inf)[:2]
    assert named == [report.run.records[one.record][0] for one in fastest]


def test_trials_are_a_table_that_can_be_sorted(tuned):
    page = build_page(analyse_run(tuned, calibrate=False))
    table = page[page.index('<table class="sortable">') :]
    rows = re.findall(r"<tr>(.*?)</tr>", table[: table.index("</table>")])
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]
    assert cells[0] == [
        "trial", "round", "after, s", "latency, ms", "GFLOP/s", "failure", "decisions",
    ]  # fmt: skip
    latencies = [float(row[3]) for row in cells[1:] if row[3]]
    assert latencies == sorted(latencies)
    assert len(latencies) == 15
    assert cells[-1][5] == "timeout"
    assert all(re.search(r"C axis 0: [\d·]+, C axis 1: [\d·]+", row[6]) for row in cells[1:])
    assert "addEventListener" in page
    shown = re.sub(r"<(style|script|pre)>.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(nan|inf|None)\b", shown)


@pytest.mark.parametrize(
    ("kind", "arguments", "name", "share"),
    [
        ("cpu", ["float32 8×8", "int64 8"], "fp32 peak", "50%"),
        ("cpu", ["uint8 8×8", "int8 8×8", "int32 8×8"], "peak", "-"),
        ("cpu", ["int8 8×8", "float32 8×8"], "peak", "-"),
        ("cpu", ["bfloat16 8×8", "float32 8×8"], "peak", "-"),
        ("cpu", ["float16 8×8"], "peak", "-"),
        ("cuda", ["float16 8×8", "float32 8×8"], "f16 tensor peak", "5%"),
        ("cuda", ["float32 8×8"], "fp32 peak", "50%"),
        ("cuda", ["float64 8×8"], "peak", "-"),
    ],
)
def test_kernels_lie_below_the_roof_of_their_dtype(tuned, kind, arguments, name, share):
    found = analyse_run(tuned, calibrate=False)
    rate = found.flops / found.run.best.latency_s
    hardware = Hardware(
        kind=kind, name="x", cores=2, peak_flops=2 * rate,
        peak_tensor_flops=20 * rate if kind == "cuda" else None, dram_bytes_per_s=1e12,
    )  # fmt: skip
    page = build_page(replace(found, hardware=hardware, arguments=arguments))
    assert re.search(rf"{share}<[^>]*>[^<]*(<[^>]*>)?of {name}", page)
    assert ("Roofline" in headings(page)) == (share != "-")
    assert (f"{name} {2 * rate / 1e9:.0f} GFLOP/s" in page) == (name == "fp32 peak")


def test_dark_and_narrow_screens_have_rules(tuned):
    page = build_page(analyse_run(tuned, calibrate=False))
    assert "prefers-color-scheme: dark" in page
    assert "max-width: 560px" in page
    colours = re.findall(
        r"(?:color|background|stroke|fill): *(#\w+)", page[: page.index("</style>")]
    )
    assert set(colours) <= {"#c0392b", "#5c9bea"}, "colours belong into variables"


def test_decisions_of_a_tile_stand_together():
    decisions = {"C axis 0 tile 0": 4, "C axis 0 tile 1": 8, "unroll": 64}
    assert config_text(decisions) == "C axis 0: 4·8, unroll: 64"


def test_what_no_stage_claims_is_the_search():
    stages = group_stages({"Total": 10.0, "SendToBuilder": 4.0, "SendToRunner": 3.0})
    assert stages == {"build": 4.0, "run": 3.0, "search": pytest.approx(3.0)}
    assert group_stages({}) == {}


def test_of_scores_that_are_all_alike_no_correlation_is_told():
    trials = tuple(
        Trial(index=i, record=i, latency_s=1e-3 * (i + 1), predicted=1.0) for i in range(6)
    )
    text = prediction(trials).text
    assert text.startswith("All 6 trials have one score, or one latency: nothing can be ranked.")
    varied = [replace(trial, predicted=-float(trial.index)) for trial in trials]
    assert prediction(tuple(varied)).text.startswith("Rank correlation 1.00 over 6 trials")
