"""A page for a folder of several tasks."""

import math
from dataclasses import replace

import numpy as np
import pytest
from stand_ins import Runner, gemm, quick
from tvm.s_tir import meta_schedule as ms

from mschedx import cli
from mschedx.inputs import normalize_mod
from mschedx.record.work_dir import open_work_dir
from mschedx.report.analysis import _bytes, group_stages
from mschedx.report.network import analyse_folder, build_folder_page
from mschedx.tuning import tune


def key_of(func):
    return str(ms.database.Workload(normalize_mod(func)).as_json()[0])


@pytest.fixture
def folder(tmp_path):
    """Two measured tasks, and two networks: one of both, one with a task that was not measured."""
    latencies = (4, 2)
    tasks = gemm(32, 32, 32), gemm(64, 32, 32), gemm(32, 64, 32)
    for func, latency in zip(tasks, latencies):
        tune(func, trials=4, work_dir=tmp_path, **quick(Runner([latency] * 4)))
    first, second, third = map(key_of, tasks)
    target = ms.database.JSONDatabase(work_dir=str(tmp_path)).get_all_tuning_records()[0].target
    with open_work_dir(tmp_path, target) as opened:
        opened.write_manifest(
            networks={"Whole": {first: 1, second: 3}, "Partly": {first: 2, third: 1}}
        )
    return tmp_path


def test_the_latency_of_a_network_is_the_sum_of_its_tasks_or_not_known(folder):
    report = analyse_folder(folder)
    assert report.latency_s("Whole") == pytest.approx((4 + 3 * 2) * 1e-3)
    assert math.isinf(report.latency_s("Partly"))
    assert [len(report.of(name)) for name in ("Whole", "Partly")] == [2, 1]


def test_a_page_says_how_much_of_a_network_was_measured(folder):
    page = build_folder_page(analyse_folder(folder))
    assert "Whole, by its tasks" in page
    assert "10 ms" in page
    assert "1 of 2" in page
    assert "tasks of Partly measured" in page
    assert "Partly, by its tasks" not in page


def test_a_page_says_where_the_time_of_all_tasks_went(folder):
    report = analyse_folder(folder)
    alone = [group_stages(row.run.stages) for row in report.rows]
    assert len(alone) == 2
    for stage, seconds in report.stages.items():
        assert seconds == pytest.approx(sum(one.get(stage, 0.0) for one in alone)), stage
    assert {"search", "build", "run", "record"} <= report.stages.keys()
    assert "Where time went" in build_folder_page(report)
    without = replace(
        report, rows=tuple(replace(r, run=replace(r.run, stages={})) for r in report.rows)
    )
    assert "Where time went" not in build_folder_page(without)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("float32", 4), ("bfloat16", 2), ("float8_e4m3fn", 1), ("float4_e2m1fn", 0.5), ("bool", 1)],
)
def test_bytes_of_arguments(dtype, size):
    assert _bytes(["TENSOR", dtype, [8, 4]]) == np.prod([8, 4]) * size


@pytest.mark.parametrize(
    ("option", "says"),
    [(["--png"], "add --workload N"), (["--reference", "tvm"], "--reference is for a comparison")],
)
def test_what_a_page_of_several_tasks_cannot_have_is_refused(folder, capsys, option, says):
    assert cli.main(["report", str(folder), *option]) == 2
    assert says in capsys.readouterr().err
    assert not list(folder.glob("*.html"))
    assert cli.main(["report", str(folder)]) == 0
    assert (folder / "report.html").exists()
