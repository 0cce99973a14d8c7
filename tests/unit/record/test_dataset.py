"""One process writes to a data set at a time, and knows all that is in it."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from pyarrow.json import read_json

from mschedx.record.dataset import DatasetFile, DatasetTask, read_datasets
from mschedx.record.lock import try_lock

TASK = DatasetTask("k", ("mean", (8, 8), "float32"), {}, None, {"cpu": "mine"}, (("a",),))
CONFIGS, SECONDS = np.array([[1], [2]]), np.array([1e-6, 2e-6])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "set.jsonl"


def test_another_writer_is_refused_until_the_first_is_gone(path):
    first = DatasetFile(path)
    first.declare(TASK)
    script = f"""
from mschedx.record.dataset import DatasetFile, DatasetTask
file = DatasetFile({str(path)!r})
try:
    file.declare(DatasetTask("k", ("mean", (8, 8), "float32"), {{}}, None, {{}}, (("a",),)))
except ValueError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "set.jsonl: another process writes to this data set" in done.stdout, done.stderr
    before = path.read_bytes()
    first.append("k", 0, CONFIGS, SECONDS)
    assert len(path.read_bytes()) > len(before), "its own writer goes on"
    del first
    with path.open("ab") as other:
        assert try_lock(other)
        with pytest.raises(ValueError, match="another process writes"):
            DatasetFile(path).append("k", 0, CONFIGS, SECONDS)
    DatasetFile(path).append("k", 0, CONFIGS, SECONDS)
    assert len(DatasetFile(path).tasks["k"]) == 4


def test_what_was_written_between_reading_and_writing_counts(path):
    early = DatasetFile(path)
    other = DatasetFile(path)
    other.declare(TASK)
    other.append("k", 0, CONFIGS, SECONDS)
    assert len(early.declare(TASK)) == 2
    assert len(early.parts) == 1


def test_objects_of_one_process_share_a_file(path):
    files = [DatasetFile(path) for _ in range(2)]
    for file in files:
        file.declare(TASK)
        file.append("k", 0, CONFIGS, SECONDS)
    assert len(DatasetFile(path).tasks["k"]) == 4


WRITTEN = (
    '{"kind": "task", "format": 2, "key": "k", '
    '"operator": {"name": "mean", "sizes": [8, 8], "dtype": "float32"}, '
    '"target": {}, "space": null, "machine": {"cpu": "mine"}, "decisions": [["a"]]}\n'
    '{"kind": "trials", "task": "k", "sketch": 0, "configs": [[1], [2]], '
    '"latency_s": [1e-06, null]}\n'
)


def test_sizes_at_their_defaults_may_be_left_out(path):
    """The key is of the function, which is the same."""
    file = DatasetFile(path)
    long = replace(TASK, operator=("conv2d", (1, 8, 8, 8, 8, 3, 1, 0), "float32"))
    short = replace(TASK, operator=("conv2d", (1, 8, 8, 8, 8, 3), "float32"))
    file.declare(long)
    file.append("k", 0, CONFIGS, SECONDS)
    assert len(file.declare(short)) == 2
    assert len(DatasetFile(path).parts) == 1
    with pytest.raises(ValueError, match="another operator"):
        file.declare(replace(TASK, operator=("conv2d", (1, 8, 8, 8, 8, 5), "float32")))


def test_what_is_written_reads_back_as_it_was(path):
    path.parent.mkdir()
    path.write_text(WRITTEN + "cut sh")
    file = DatasetFile(path)
    assert [note.split(" was set")[0] for note in file.notes] == ["line 3"]
    assert path.read_text() == WRITTEN + "cut sh", "reading changes nothing"
    assert file.declare(TASK).task == TASK
    file.append("k", 0, CONFIGS, SECONDS)
    assert path.read_text().startswith(WRITTEN + "cut sh\n"), "what is there stays"
    (known,) = DatasetFile(path).tasks.values()
    np.testing.assert_array_equal(known.latency_s[0], [1e-6, np.inf, 1e-6, 2e-6])


@pytest.mark.parametrize("other", [1, 3])
def test_another_format_is_set_aside(path, other):
    path.parent.mkdir()
    path.write_text(WRITTEN.replace('"format": 2', f'"format": {other}'))
    file = DatasetFile(path)
    assert not file.tasks
    assert f"format {other}, expected 2" in file.notes[0]
    before = path.read_bytes()
    file.declare(TASK)
    assert path.read_bytes().startswith(before), "and nothing of it is lost"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"configs": [[10**30], [2]]}, "OverflowError"),
        ({"configs": [[1.5], [2]]}, "configs of float"),
        ({"configs": [[1], [2.0]]}, "configs of float"),
        ({"configs": [[True], [2]]}, "configs of bool"),
        ({"configs": [["1"], ["2"]]}, "configs of str"),
        ({"configs": [[None], [2]]}, "configs of NoneType"),
        ({"configs": [1, 2]}, "TypeError"),
        ({"configs": [[1, 2]]}, "cannot reshape"),
        ({"configs": [[1]]}, "1 configs with 2 latencies"),
        ({"sketch": -1}, "sketch -1 of 1"),
        ({"sketch": 1}, "sketch 1 of 1"),
        ({"sketch": False}, "sketch False of 1"),
        ({"latency_s": [10**400, 1e-6]}, "OverflowError"),
        ({"latency_s": [-1.0, 1e-6]}, "a latency of -1.0 seconds"),
        ({"latency_s": ["1e-6", 1e-6]}, "a latency of '1e-6' seconds"),
        ({"latency_s": [True, 1e-6]}, "a latency of True seconds"),
        ({"task": ["k"]}, "TypeError"),
        ({"kind": "task", "format": 2, "key": ["k"]}, "key is"),
        ({"kind": "task", "format": 2, "key": "k", "target": {}, "machine": None}, "machine is"),
    ],
)
def test_one_broken_line_costs_itself_alone(path, changes, says):
    """Files are cut and merged by scripts; the lines around it are read as they are."""
    path.parent.mkdir()
    whole = {"kind": "trials", "task": "k", "sketch": 0, "configs": [[1], [2]]}
    whole["latency_s"] = [1e-6, None]
    path.write_text(WRITTEN + json.dumps({**whole, **changes}) + "\n" + json.dumps(whole) + "\n")
    file = DatasetFile(path)
    assert len(file.notes) == 1
    assert file.notes[0].startswith("line 3 was set aside: ")
    assert says in file.notes[0]
    np.testing.assert_array_equal(file.tasks["k"].configs[0], [[1], [2], [1], [2]])
    np.testing.assert_array_equal(file.tasks["k"].latency_s[0], [1e-6, np.inf] * 2)


def test_a_latency_beyond_all_floats_is_no_failed_trial(path):
    path.parent.mkdir()
    path.write_text(WRITTEN + WRITTEN.splitlines()[1].replace("1e-06", "1e400") + "\n")
    file = DatasetFile(path)
    assert "a latency of inf seconds" in file.notes[0]
    assert len(file.tasks["k"]) == 2


@pytest.fixture
def filled(path):
    """Two tasks, one with a sketch that decides nothing and a trial that failed."""
    file = DatasetFile(path)
    file.declare(TASK)
    target = {"kind": "llvm", "mcpu": "haswell", "num-cores": 2}
    more = ("gemm", (8, 8, 4), "int8"), target, "post-order-apply", {"cpu": "mine", "cores": 2}
    file.declare(DatasetTask("l", *more, ((), ("a", "b"))))
    file.append("l", 0, np.empty((1, 0), dtype=np.int64), np.array([np.inf]))
    file.append("l", 1, np.array([[1, 2], [3, 4]]), np.array([1e-6, np.inf]))
    file.append("k", 0, CONFIGS, SECONDS)
    return path


def _types(value):
    """What a value is for a reader of columns; None fits any, numbers are not told apart."""
    if isinstance(value, list):
        return [_one_type(map(_types, value))]
    if isinstance(value, dict):
        return {name: _types(part) for name, part in value.items()}
    return None if value is None else "number" if isinstance(value, (int, float)) else "text"


def _one_type(types):
    """The type that all of these are; of objects, each field that any of them has."""
    known = [one for one in types if one is not None]
    if not known:
        return None
    assert len({type(one) for one in known}) == 1, known
    if isinstance(known[0], list):
        return [_one_type(one[0] for one in known)]
    if isinstance(known[0], dict):
        names = {name for one in known for name in one}
        return {name: _one_type(one.get(name) for one in known) for name in names}
    assert len(set(known)) == 1, known
    return known[0]


def test_every_field_has_one_type(filled):
    lines = [json.loads(text) for text in filled.read_text().splitlines()]
    found = _one_type(map(_types, lines))
    assert found["operator"] == {"name": "text", "sizes": ["number"], "dtype": "text"}
    assert found["configs"] == [["number"]]


def test_pyarrow_reads_a_data_set_as_a_table(filled):
    table = read_json(str(filled))
    assert table.num_rows == 5
    operators = [one for one in table["operator"].to_pylist() if one is not None]
    assert operators == [
        {"name": "mean", "sizes": [8, 8], "dtype": "float32"},
        {"name": "gemm", "sizes": [8, 8, 4], "dtype": "int8"},
    ]
    assert table["latency_s"].to_pylist()[2:] == [[None], [1e-6, None], [1e-6, 2e-6]]
    assert table["configs"].to_pylist()[3] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("trials", "says"),
    [
        (("other", 0, CONFIGS, SECONDS), "expected trials of a declared task, got 'other'"),
        (("k", -1, CONFIGS, SECONDS), "expected a sketch of task k from 0 to 0, got -1"),
        (("k", 1, CONFIGS, SECONDS), "from 0 to 0, got 1"),
        (("k", 0, np.array([[1, 2], [3, 4]]), SECONDS), r"of shape \(2, 1\) for sketch 0"),
        (("k", 0, CONFIGS * 1.5, SECONDS), r"got float64 \(2, 1\)"),
        (("k", 0, CONFIGS, SECONDS[:1]), r"of shape \(1, 1\) .* and latencies of shape \(1,\)"),
        (("k", 0, CONFIGS, SECONDS * [1, np.nan]), "expected latencies above 0, .* got nan"),
        (("k", 0, CONFIGS, SECONDS * [1, 0]), "expected latencies above 0, .* got 0.0"),
    ],
)
def test_of_trials_that_do_not_fit_nothing_is_written(path, trials, says):
    file = DatasetFile(path)
    file.declare(TASK)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=says):
        file.append(*trials)
    assert path.read_bytes() == before
    assert len(file.tasks["k"]) == 0
    file.append("k", 0, CONFIGS, [1, np.inf] * SECONDS)
    assert DatasetFile(path).notes == []


def test_a_sketch_without_decisions_is_read_back(tmp_path):
    task = DatasetTask("k", ("mean", (8, 8), "float32"), {}, None, {}, ((), ("a",)))
    file = DatasetFile(tmp_path / "set.jsonl")
    file.declare(task)
    file.append("k", 0, np.empty((2, 0), dtype=np.int64), np.array([1e-6, np.inf]))
    (found,) = read_datasets([tmp_path / "set.jsonl"], pytest.fail)
    assert [one.shape for one in found.configs] == [(2, 0), (0, 1)]
    assert found.latency_s[0].tolist() == [1e-6, np.inf]
