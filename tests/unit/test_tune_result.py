"""A result as a table, as text, and with its notes."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas
import pytest
import tvm_ffi
from stand_ins import Runner, gemm, quick

from mschedx import compat
from mschedx.report.result_text import result_text
from mschedx.tuning import tune


def test_trials_are_a_table(tmp_path, monkeypatch):
    result = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([4, None, 3, 2])))
    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = result.trials()
    assert [row["latency_s"] for row in rows] == pytest.approx([4e-3, None, 3e-3, 2e-3])
    assert rows[1]["reason"] == "timeout"

    monkeypatch.setitem(sys.modules, "pandas", pandas)
    frame = result.trials()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 4
    assert frame["latency_s"].min() == pytest.approx(2e-3)
    assert frame["latency_s"].isna().sum() == 1
    columns = list(frame.columns)
    assert {"index", "latency_s", "reason", "record"} <= set(columns)
    decisions = {name: rows[0][name] for name in rows[0] if " tile " in name or name == "unroll"}
    assert decisions
    assert set(columns) == set().union(*rows)
    assert columns.index("task") < columns.index(next(iter(decisions)))


def test_a_compiled_winner_runs_on_the_cores_that_are_asked_for(tmp_path):
    result = tune(gemm(), trials=1, work_dir=tmp_path, **quick(Runner()))
    with pytest.raises(ValueError, match="expected cores >= 1"):
        result.compile(cores=0)
    threads = tvm_ffi.get_global_func("runtime.NumThreads")
    arrays = [np.ones((32, 32), np.float32) for _ in range(3)]
    for cores in (2, 1):
        kernel = result.compile(cores=cores)["main"]
        with ThreadPoolExecutor(1) as new:
            new.submit(kernel, *arrays).result()
            assert new.submit(threads).result() == min(cores, compat.available_cores())
    assert (arrays[2] == 32).all()


def test_a_result_shows_itself_in_ten_lines(tmp_path):
    result = tune(gemm(), trials=4, work_dir=tmp_path, **quick(Runner([4, None, 3, 2])))
    text = repr(result)
    assert text.startswith("TuneResult: 2 ms, 0.0 GFLOP/s, output not checked")
    assert "4, 4 of them measured by this call, 1 failed (1 timeout)" in text
    assert str(tmp_path) in text
    assert len(text.splitlines()) <= 10
    assert result._repr_html_().startswith("<pre>TuneResult: 2 ms")


def test_many_notes_are_counted():
    text = result_text("R", "found", {"a": "1", "longer": "2"}, [f"n{i}" for i in range(9)])
    assert text.splitlines()[:3] == ["R: found", "  a       1", "  longer  2"]
    assert text.splitlines()[-1] == "  and 5 more notes"
    assert len(text.splitlines()) == 8
