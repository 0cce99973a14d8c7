"""Data sets are read back: cut ones, several of them, and what is put aside for tests."""

import json

import numpy as np
import pytest
import tvm
from data_sets import SIZES, written

from mschedx.bench.opened_tasks import OpenedTask, open_task, split
from mschedx.bench.pretrain import pretrain
from mschedx.record.dataset import DatasetFile, read_datasets
from mschedx.space.task import Task


def test_a_cut_data_set_loses_its_last_line_only_and_it_is_said(file, tmp_path):
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(file.read_bytes()[:-100])
    cut.chmod(0o444)
    before = cut.read_bytes()
    said = []
    pretrain([cut], tmp_path / "m", held_out=0, epochs=1, say=said.append)
    assert any("cut.jsonl: line 16 was set aside" in line for line in said)
    assert sum(map(len, read_datasets([cut]))) == 40 * 12 - 40
    assert cut.read_bytes() == before, "reading writes nothing"
    cut.chmod(0o644)
    grown = DatasetFile(cut)
    key = next(iter(grown.tasks))
    grown.append(key, 0, grown.tasks[key].configs[0][:1], np.array([1e-6]))
    assert sum(map(len, read_datasets([cut]))) == 40 * 12 - 40 + 1, "what follows is whole"


def test_a_last_line_without_its_newline_is_read(file, tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_bytes(file.read_bytes().rstrip(b"\n"))
    assert sum(map(len, read_datasets([path], pytest.fail))) == 40 * 12


def on_another_machine(file, path):
    """The same data set as if another machine had measured it, all twice as slow."""
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "task":
            line["machine"]["cpu"] = "another"
        else:
            line["latency_s"] = [2 * s for s in line["latency_s"]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("how", ["two files", "one file"])
def test_what_two_machines_measured_is_kept_apart_and_held_out_together(file, tmp_path, how):
    other = on_another_machine(file, tmp_path / "other.jsonl")
    paths, said = [file, other], []
    if how == "one file":
        paths = [tmp_path / "both.jsonl"]
        paths[0].write_text(file.read_text() + other.read_text())
    found = read_datasets(paths, said.append)
    assert len(found) == 2 * len(SIZES)
    assert sum("with another machine: kept apart" in text for text in said) == (
        len(SIZES) if how == "one file" else 0
    )
    tasks = [open_task(one) for one in found]
    assert len({task.task.key for task in tasks}) == 2 * len(SIZES)
    rest, aside = split(tasks, 0.25, np.random.default_rng(0))
    assert len(aside) == 2
    assert not {task.workload for task in rest} & {task.workload for task in aside}
    for one, two in zip(found, found[len(SIZES) :]):
        np.testing.assert_allclose(two.latency_s[0], 2 * one.latency_s[0])


def test_a_workload_in_two_spaces_and_for_two_targets_is_held_out_whole(file, tmp_path):
    sizes = SIZES[:2]
    own = written(tmp_path / "own.jsonl", sizes, n=2, space=None)
    fewer = tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 1})
    other = written(tmp_path / "other.jsonl", sizes, n=2, on=fewer)
    tasks = [open_task(one) for one in read_datasets([file, own, other])]
    assert len({task.task.key for task in tasks}) == len(tasks) == len(SIZES) + 4
    assert len({task.workload for task in tasks}) == len(SIZES)
    for seed in range(8):
        rest, aside = split(tasks, 0.5, np.random.default_rng(seed))
        assert rest
        assert not {task.name for task in rest} & {task.name for task in aside}


def test_files_of_one_machine_are_put_together(file, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(file.read_bytes())
    found = read_datasets([file, copy], pytest.fail)
    assert len(found) == len(SIZES)
    assert sum(map(len, found)) == 2 * 40 * 12


def test_a_space_that_has_changed_is_an_error(file, tmp_path):
    text = file.read_text().replace('"post-order-apply"', "null", 1)
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="the space has changed since; collect the data set again"):
        open_task(read_datasets([path])[0])


def test_tasks_are_put_aside_whole():
    rng = np.random.default_rng(0)
    tasks = [OpenedTask(str(i), str(i), Task(str(i)), []) for i in range(10)]
    rest, aside = split(tasks, 0.2, rng)
    assert (len(rest), len(aside)) == (8, 2)
    assert sorted(one.name for one in [*rest, *aside]) == [one.name for one in tasks]
    assert split(tasks, 0.0, rng)[1] == []
    assert split(tasks[:1], 0.5, rng) == (tasks[:1], [])
    assert len(split(tasks[:2], 0.99, rng)[0]) == 1
