"""One process writes to a data set at a time, and knows all that is in it."""

import subprocess
import sys

import numpy as np
import pytest

from mschedx.record.dataset import DatasetFile, DatasetTask
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
