"""PSA against what an H200 measured: figures of docs/benchmarks/gpus.md, with room for changes."""

import math

import gpu_ranking
import numpy as np
import pytest
from scipy.stats import spearmanr
from tvm.s_tir.meta_schedule.database import JSONDatabase, TuningRecord

from mschedx.cost.psa import PSAModel
from mschedx.hardware import Hardware
from mschedx.space import Resolver


@pytest.fixture(scope="module")
def found():
    return gpu_ranking.opened("f16_1024", 48)


def test_trials_are_collected_where_some_sketches_have_none(found, tmp_path, monkeypatch):
    """Of two sketches one trial that ran and one that failed, both of the second."""
    assert len(found) >= 2
    monkeypatch.setattr(gpu_ranking.Resolver, "of_space", lambda *_: Resolver(found[:2]))
    sketch = found[1]
    configs = sketch.sample(2, np.random.default_rng(0))
    folder = tmp_path / "f16_1024-heron"
    folder.mkdir()
    database = JSONDatabase(work_dir=str(folder))
    workload = database.commit_workload(sketch.design.mod)
    target = gpu_ranking.device_target(48)
    for config, seconds in zip(configs, (3e-5, 1e10)):
        trace = sketch.schedule(config).trace
        database.commit_tuning_record(TuningRecord(trace, workload, [seconds], target))
    (trial,) = gpu_ranking.collected(tmp_path, 48)
    assert trial == {
        "workload": "f16_1024",
        "shared_kib": 48,
        "tuner": "heron",
        "sketch": 1,
        "decisions": dict(zip(sketch.names, configs[0].tolist())),
        "latency_us": 30.0,
    }
    (seconds,) = gpu_ranking.predictions(PSAModel(Hardware.from_device("h200")), found, [trial])
    assert math.isfinite(seconds)


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
