"""Opening a database without reading it."""

import json

import pytest
from stand_ins import Runner, gemm, quick
from tvm.s_tir import meta_schedule as ms

from mschedx import tune
from mschedx.inputs import normalize_mod, normalize_target
from mschedx.record.database import open_database
from mschedx.record.trials import read_run
from mschedx.record.work_dir import open_work_dir
from mschedx.search import ConstrainedRandom


@pytest.fixture
def folder(tmp_path):
    """A work_dir of eight records."""
    tune(gemm(), trials=8, work_dir=tmp_path, **quick(Runner()))
    return tmp_path


def texts(folder):
    return (folder / "database_tuning_record.json").read_text().splitlines()


@pytest.mark.parametrize("read", [True, False])
def test_records_are_added_to_those_that_are_there(folder, read):
    before = texts(folder)
    first = ms.database.JSONDatabase(work_dir=str(folder)).get_all_tuning_records()[0]
    target = normalize_target(quick(None)["target"])
    with open_work_dir(folder, target) as opened, open_database(opened, read=read) as database:
        assert len(database) == (8 if read else 0)
        workload = database.commit_workload(normalize_mod(gemm()))
        database.commit_tuning_record(
            ms.database.TuningRecord(first.trace, workload, [0.5], first.target, first.args_info)
        )
        assert len(database) == (9 if read else 1)
    after = texts(folder)
    assert after[:8] == before
    assert json.loads(after[8])[1][1] == [0.5]
    assert len(ms.database.JSONDatabase(work_dir=str(folder))) == 9


def test_a_link_to_the_records_is_followed(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "kept.json"
    records = folder / "database_tuning_record.json"
    records.rename(elsewhere)
    records.symlink_to(elsewhere)
    own = {**quick(Runner()), "strategy": ConstrainedRandom(), "space": None}
    assert tune(gemm(), trials=12, work_dir=folder, **own).measured == 4
    assert len(elsewhere.read_text().splitlines()) == 12


def test_a_search_of_ours_numbers_its_records_after_earlier_ones(tmp_path):
    own = {**quick(Runner()), "strategy": ConstrainedRandom(), "space": None}
    tune(gemm(), trials=4, work_dir=tmp_path, **own)
    result = tune(gemm(), trials=8, work_dir=tmp_path, **own)
    assert result.measured == 4
    run = read_run(tmp_path)
    assert [trial.record for trial in run.trials] == list(range(8))
    assert len({trial.program for trial in run.trials}) == 8, "none is measured twice"
