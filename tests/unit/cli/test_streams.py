"""Standard streams that nobody reads."""

import os
import sys
from types import SimpleNamespace

import pytest

from mschedx import cli


@pytest.fixture
def unread(monkeypatch, capsys):
    """An error stream whose reader has gone; in place of what `capsys` reads."""
    del capsys
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(os.dup(write), "w", buffering=1) as file:
        monkeypatch.setattr(sys, "stderr", file)
        yield
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
    os.close(write)


@pytest.mark.usefixtures("unread")
def test_a_command_whose_progress_nobody_reads_goes_on_to_its_end(monkeypatch, tmp_path, capsys):
    """Of ``mschedx dataset ... 2>&1 | head``: status 0 says that the file is whole."""
    done = []

    def collect(workloads, target, path, say, **_):
        for workload in workloads:
            say(f"{workload.name}: 8 trials")
            done.append(workload)
        return SimpleNamespace(notes=["a line was set aside"], tasks={})

    monkeypatch.setattr("mschedx.bench.collect.collect", collect)
    path = str(tmp_path / "set.jsonl")
    assert cli.main(["dataset", path, "--workloads", "gemm_128,gemm_512"]) == 0
    assert len(done) == 2
    assert path in capsys.readouterr().out
