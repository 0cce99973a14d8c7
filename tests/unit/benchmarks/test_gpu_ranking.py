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


@pytest.mark.parametrize(
    ("device", "tuner", "workload"),
    [
        ("h200", "random@1", "f16_1024"),
        ("h200", "random@1", "f16_2048"),
        ("h200", "random@1", "conv2d_f16"),
        ("h100", "random", "f16_1024"),
        ("h100", "random", "f16_f16_1024"),
        ("h100", "random", "bf16_1024"),
        ("h100", "random", "int8_1024"),
    ],
)
def test_pruner_fact_10_drafting_beats_chance(device, tuner, workload):
    """The k-th best of a quarter of 64 random trials: PSA's quarter against the mean of others.

    On CPUs that is a figure for each of 26 shapes (docs/benchmarks/ranking.md), where one loses at
    k = 1.
    """
    trials = gpu_ranking.runs(device)[workload, 48, tuner]
    model = PSAModel(Hardware.from_device(device))
    predicted = gpu_ranking.predictions(model, gpu_ranking.opened(workload, 48), trials)
    measured = np.array([trial["latency_us"] for trial in trials])
    quarter, rng = len(trials) // 4, np.random.default_rng(0)
    drafted = np.sort(measured[np.argsort(predicted)[:quarter]])
    others = np.sort([rng.permutation(measured)[:quarter] for _ in range(1000)], axis=1)
    for k in (1, 4, 8):
        assert drafted[k - 1] <= others[:, k - 1].mean(), k
