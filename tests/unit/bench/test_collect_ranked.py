"""Data sets of what a ranking puts first, before random configs."""

import numpy as np
import pytest
from tvm.target import Target

from mschedx import cli
from mschedx.bench import collect as module
from mschedx.bench.collect import collect, open_workload
from mschedx.cost.consensus import ConsensusModel
from mschedx.hardware import host_target
from mschedx.ranking import best_of, deviation_in
from mschedx.workloads import Workload

TVM = "post-order-apply"
PRODUCT = Workload("product", "gemm", (64, 48, 32))


@pytest.fixture
def measured(monkeypatch):
    """Nothing is measured; how many at a time are asked for."""
    asked = []

    def seconds(made, *_):
        asked.append(len(made))
        return np.linspace(1e-6, 2e-6, len(made))

    monkeypatch.setattr(module, "measure_schedules", seconds)
    return asked


def rows(file):
    """Sketch and config of all trials of the only task."""
    (known,) = file.tasks.values()
    return {(i, row.tobytes()) for i, configs in enumerate(known.configs) for row in configs}


def ranked(model, count):
    sketches = open_workload(PRODUCT, host_target(), TVM)
    rng = np.random.default_rng([0, 0])
    found = best_of(sketches, count, model, rng, deviation_in(TVM))
    index = {id(sketch): i for i, sketch in enumerate(sketches)}
    return {(index[id(one.sketch)], one.config.tobytes()) for one in found}


@pytest.mark.parametrize("model", [None, "cpu"])
def test_the_best_ranked_are_measured_first(tmp_path, measured, model):
    given = {"ranked": 6, "model": model, "space": TVM, "say": lambda _: None}
    few = collect([PRODUCT], host_target(), tmp_path / "few.jsonl", trials=4, **given)
    best = ranked(model and ConsensusModel(model), 6)
    assert len(rows(few)) == 4
    assert rows(few) < best
    more = collect([PRODUCT], host_target(), tmp_path / "more.jsonl", trials=20, **given)
    assert best < rows(more)
    assert len(rows(more)) == 20


def test_weights_are_those_of_the_target_s_processor(tmp_path, monkeypatch):
    asked = []

    class Asked(Exception):
        pass

    def model(pretrained, *, mcpu=None):
        asked.append((pretrained, mcpu))
        raise Asked

    monkeypatch.setattr(module, "ConsensusModel", model)
    for mcpu in ("znver4", "znver5"):
        target = Target({"kind": "llvm", "mcpu": mcpu, "num-cores": 1})
        with pytest.raises(Asked):
            collect([PRODUCT], target, tmp_path / "set.jsonl", trials=4, ranked=2, model="cpu")
    assert asked == [("cpu", "znver4"), ("cpu", "znver5")]


def test_what_a_file_has_is_not_measured_again(tmp_path, measured):
    path, given = tmp_path / "set.jsonl", {"space": TVM, "say": lambda _: None}
    collect([PRODUCT], host_target(), path, trials=8, **given)
    known = collect([PRODUCT], host_target(), path, trials=12, ranked=8, **given)
    assert len(rows(known)) == 12
    assert sum(measured) == 12
    measured.clear()
    collect([PRODUCT], host_target(), path, trials=12, ranked=12, **given)
    assert not measured


def test_bad_requests_on_the_command_line(tmp_path, measured, capsys):
    path = tmp_path / "set.jsonl"
    asked = ["dataset", str(path), "--workloads", "gemm:64,48,32", "--trials", "4"]
    assert cli.main([*asked, "--ranked", "-1"]) == 2
    assert "expected ranked >= 0, got -1" in capsys.readouterr().err
    assert cli.main([*asked, "--ranked", "2", "--model", "no-such-model"]) == 2
    assert "no-such-model" in capsys.readouterr().err
    assert not path.exists()
    assert cli.main([*asked, "--ranked", "2", "--space", TVM]) == 0
    assert sum(measured) == 4
