"""The experiments of benchmarks/felix.py on trials that somebody made up."""

import felix
import numpy as np
import pytest
from dummy import TARGET, target

from mschedx.bench.collect import open_workload
from mschedx.cost import FelixConfig
from mschedx.cost.learned.felix_mlp import FelixMLPModel
from mschedx.record.dataset import DatasetTask, TaskTrials
from mschedx.search import Descent, DescentConfig
from mschedx.workloads import Workload

SHAPE = (32, 32, 32)


@pytest.fixture
def trials():
    found = open_workload(Workload("gemm", "gemm", SHAPE, "float32"), target(), None)
    names = tuple(sketch.names for sketch in found)
    task = TaskTrials(DatasetTask("t", ("gemm", SHAPE, "float32"), TARGET, None, {}, names))
    rng = np.random.default_rng(0)
    for s, sketch in enumerate(found):
        configs = sketch.sample(20, rng)
        task.add(s, configs, 1e-5 * (1.0 + configs[:, 0]))
    return task


def test_searches_are_compared_at_one_number_of_scored_points(trials, monkeypatch):
    config = FelixConfig(members=1, width=8, steps=5)
    small = DescentConfig(n_seeds=4, n_steps=4, samples=80, epsilon=0.0)
    monkeypatch.setattr(felix, "FelixMLPModel", lambda _, seed: FelixMLPModel(config, seed))
    monkeypatch.setattr(felix, "Descent", lambda _: Descent(small))
    found = felix.searched(felix.open_task(trials), 0)
    assert set(found) == {"gradients", "random", "evolution"}
    assert np.isfinite(list(found.values())).all()
    assert found == felix.searched(felix.open_task(trials), 0)


def test_a_data_set_of_another_space_is_refused(trials):
    names = (*trials.task.decisions[:-1], ("other",))
    task = DatasetTask("t", ("gemm", SHAPE, "float32"), TARGET, None, {}, names)
    with pytest.raises(ValueError, match="collect the data set again"):
        felix.open_task(TaskTrials(task))
