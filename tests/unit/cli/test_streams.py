"""Standard streams that nobody reads."""

import contextlib
import os
import sys
from types import SimpleNamespace

from mschedx import cli


@contextlib.contextmanager
def unread_errors(monkeypatch):
    """Let the error stream be one whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(os.dup(write), "w", buffering=1) as file, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", file)
        yield
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, file.fileno())
        os.close(nowhere)
    os.close(write)


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
    with unread_errors(monkeypatch):
        status = cli.main(["dataset", path, "--workloads", "gemm_128,gemm_512"])
    assert status == 0
    assert len(done) == 2
    assert path in capsys.readouterr().out
