"""What the command prints at the end."""

import contextlib
from dataclasses import replace

import pytest
from stand_ins import Runner, gemm, quick

from mschedx.bench import summary
from mschedx.bench.beside import BesideVendor
from mschedx.tuning import tune
from mschedx.workloads import Workload

TABLE = summary._table
WORKLOAD = Workload("gemm", "gemm", (32, 32, 32), "float32")


@pytest.fixture
def result(tmp_path, monkeypatch):
    """Of a target that is said to be this machine, and a table that does not run anything."""
    monkeypatch.setattr("mschedx.hardware.system_cpu", lambda: "haswell")
    monkeypatch.setattr(summary, "_table", lambda *_: "the table")
    return tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([1])))


def test_the_winner_is_timed_beside_others(result, capsys):
    summary.print_summary(WORKLOAD, result)
    assert "the table" in capsys.readouterr().out
    summary.print_summary(WORKLOAD, result, compare=False)
    assert "the table" not in capsys.readouterr().out


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()], ids=repr)
def test_what_was_found_is_said_where_the_timing_beside_others_ends(
    error, result, capsys, monkeypatch
):
    def table(*_):
        raise error

    monkeypatch.setattr(summary, "_table", table)
    with pytest.raises(type(error)):
        summary.print_summary(WORKLOAD, result)
    out = capsys.readouterr().out
    assert "gemm (32, 32, 32) float32: 250 us" in out
    assert "4 trials, 4 measured now" in out
    assert f"database  {result.work_dir}" in out


@pytest.mark.parametrize("name", ["gemm[red]", "v1:smile:", "a[/b]"])
def test_paths_are_printed_as_they_are(name, result, capsys, tmp_path):
    moved = tmp_path / name
    moved.mkdir(parents=True)
    summary.print_summary(WORKLOAD, replace(result, work_dir=moved), compare=False)
    out = capsys.readouterr().out
    assert f"\ndatabase  {moved}\n" in out
    assert f"\nschedule  {moved}" in out


def test_after_ctrl_c_nothing_more_is_timed(result, capsys):
    summary.print_summary(WORKLOAD, replace(result, interrupted=True))
    assert "the table" not in capsys.readouterr().out


def test_code_for_another_cpu_that_never_ran_here_is_not_run(result, capsys, monkeypatch):
    summary.print_summary(WORKLOAD, replace(result, predicted=True))
    assert "the table" in capsys.readouterr().out
    monkeypatch.setattr("mschedx.hardware.system_cpu", lambda: "ivybridge")
    summary.print_summary(WORKLOAD, replace(result, predicted=True))
    assert "the table" not in capsys.readouterr().out


def test_code_for_another_architecture_is_not_run(result, capsys, monkeypatch):
    monkeypatch.setattr("mschedx.hardware.other_architecture", lambda target: "it is for another")
    summary.print_summary(WORKLOAD, result)
    assert "the table" not in capsys.readouterr().out


def test_a_function_that_takes_minutes_as_it_is_is_not_timed(result, monkeypatch):
    def compared(_, kernels, **__):
        return BesideVendor(dict.fromkeys(kernels, 1e-3), None)

    monkeypatch.setattr(summary, "compared", compared)
    monkeypatch.setattr(summary, "TorchProcess", contextlib.nullcontext)
    workload = replace(WORKLOAD, dtype="float16")  # without the kernel of the peak
    long = replace(result, flops=2.0 * 4096**3)
    assert [*summary.compare_rates(workload, result).seconds] == ["unscheduled", "mschedx"]
    assert [*summary.compare_rates(workload, long).seconds] == ["mschedx"]
    names, latencies, *_ = TABLE(workload, long).columns
    assert [*zip(names.cells, latencies.cells)] == [("unscheduled", "-"), ("mschedx", "1 ms")]


def test_what_was_found_is_printed_though_the_winner_cannot_be_saved(result, capsys, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device", "schedule.py")

    monkeypatch.setattr(type(result), "save", full)
    for compare, first in ((True, "the table"), (False, "gemm (32, 32, 32) float32: 250 us")):
        with pytest.raises(OSError, match="No space left"):
            summary.print_summary(WORKLOAD, result, compare=compare)
        out = capsys.readouterr().out
        assert first in out
        assert "4 trials, 4 measured now" in out
        assert f"database  {result.work_dir}" in out
        assert "schedule  " not in out
