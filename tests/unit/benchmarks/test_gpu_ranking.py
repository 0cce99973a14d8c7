"""PSA against what an H200 measured: figures of docs/benchmarks/gpus.md, with room for changes."""

import gpu_ranking
import numpy as np
import pytest
from scipy.stats import spearmanr

from mschedx.cost.psa import PSAModel
from mschedx.hardware import Hardware


@pytest.fixture(scope="module")
def found():
    return gpu_ranking.opened("f16_1024", 48)


@pytest.mark.parametrize("tuner", ["heron", "pruner"])
def test_psa_ranks_what_was_measured(found, tuner):
    trials = gpu_ranking.runs("h200")["f16_1024", 48, tuner]
    model = PSAModel(Hardware.from_device("h200"))
    predicted = gpu_ranking.predictions(model, found, trials)
    measured = np.array([trial["latency_us"] for trial in trials]) * 1e-6
    assert spearmanr(predicted, measured)[0] > 0.8
    assert measured.min() / measured[np.argsort(predicted)[:8]].min() > 0.9
    assert 0.8 < np.median(measured / predicted) < 1.25
