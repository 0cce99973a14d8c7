"""The numbers of a comparison."""

from dataclasses import replace

import numpy as np
import pytest
from comparisons import comparison, invented

from mschedx.bench.compare import cell, harness, summaries
from mschedx.bench.suite import find_workloads


def test_a_tuner_keeps_what_it_finds_in_its_last_round():
    found = invented(cell.Cell(find_workloads("softmax")[0], "tvm", 0, 3), None)
    result = replace(found, elapsed_s=[1.0, 1.0, 2.04])
    (end,) = summaries.wall_moments([result])
    assert end == 2.1
    assert summaries.bests_within([result], end)["softmax"].tolist() == [1e-3]


def test_curves_are_compared_at_equal_trials(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "run_cell", invented)
    results = harness.run_comparison(comparison(tmp_path))
    found = summaries.curve_speedups(results, ["heron", "tvm"], "tvm", [1, 2, 3])
    assert np.isnan(found["heron"][0].value), "no first trial ran"
    assert [f.value for f in found["heron"][1:]] == pytest.approx([2.0, 2.0])
    assert summaries.moments(64) == [16, 32, 64]
    assert summaries.moments(1) == [1]
