"""Data sets are measured: no config twice, what cannot be measured left out."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from data_sets import SIZES, TARGET, TVM, gemm

import mschedx.space
from mschedx import cli
from mschedx.bench import collect
from mschedx.bench.collect import declared, open_workload
from mschedx.bench.opened_tasks import open_task
from mschedx.bench.pretrain import pretrain
from mschedx.hardware import host
from mschedx.record.dataset import DatasetFile, TaskTrials, read_datasets
from mschedx.space.errors import EmptySpace, SparseSpace
from mschedx.space.sketch import Sketch
from mschedx.workloads import Workload


def test_no_config_is_measured_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "measure_schedules", lambda made, *_: np.full(len(made), 1e-6))
    small, said = Workload("small", "gemm", (3, 2, 2)), []
    path = tmp_path / "set.jsonl"
    for _ in range(2):  # the second finds all in the file
        file = collect.collect([small], TARGET, path, trials=10_000, space=TVM, say=said.append)
    (known,) = file.tasks.values()
    sketches = open_workload(small, TARGET, TVM)
    everything = sum(sketch.count() for sketch in sketches)
    assert 0.8 * everything < len(known) <= everything
    for rows in known.configs:
        assert len(np.unique(rows, axis=0)) == len(rows)
    assert said.count("small: no config is left that was not measured") == 2


class Sparse(Sketch):
    """A sketch of which no config is found."""

    def sample(self, n, rng):
        raise SparseSpace("no config is found by chance")

    def narrowed(self, **_):
        return self


def test_sketches_of_which_no_config_is_found_are_left_out(tmp_path, monkeypatch):
    """Of two workloads, one has nothing else; the other is measured, and trained on."""
    opened, said = mschedx.space.sketches, []

    def some_sparse(mod, target, space=None):
        found = opened(mod, target, space)
        others = found[1:] if int(mod["main"].params[0].shape[0]) == SIZES[0][0] else []
        return [Sparse(found[0].design), *others]

    def seconds(made, *_):
        return np.linspace(1e-6, 2e-6, len(made))

    monkeypatch.setattr(mschedx.space, "sketches", some_sparse)
    monkeypatch.setattr(collect, "measure_schedules", seconds)
    path = tmp_path / "set.jsonl"
    other, one = gemm(SIZES[1]), gemm(SIZES[0])
    file = collect.collect([other, one], TARGET, path, trials=20, space=TVM, say=said.append)
    (known,) = file.tasks.values()
    assert len(known) == 20
    assert len(known.task.decisions) == len(opened(one.func(), TARGET, TVM)) - 1
    assert said[0].startswith("gemm is left out: ")
    assert "no config is found by chance" in said[0]
    with pytest.raises(EmptySpace, match="can be measured: gemm: none of 1 sketches has a"):
        collect.collect([other], TARGET, tmp_path / "other", trials=1, space=TVM, say=said.append)
    file.declare(replace(known.task, operator=("gemm", SIZES[1], "float32"), key="other"))
    file.append("other", 0, known.configs[0][:2], np.array([1e-6, 2e-6]))
    said.clear()
    pretrain([path], tmp_path / "m", held_out=0, epochs=1, say=said.append)
    assert any(line.startswith("gemm 32x96x64 float32 is left out: ") for line in said)
    assert any(line.startswith("1 task to train on") for line in said)


def test_what_this_machine_lacks_is_refused_or_said(tmp_path, monkeypatch):
    """Programs that crash for want of an instruction would be failures of the target for good."""
    monkeypatch.setattr(host, "system_cpu", lambda: "haswell")
    monkeypatch.setattr(collect, "measure_schedules", lambda made, *_: np.full(len(made), 1e-6))
    config, path, said = {"kind": "llvm", "num-cores": 2}, tmp_path / "set.jsonl", []
    wider = tvm.target.Target({**config, "mcpu": "skylake-avx512"})
    small = Workload("small", "gemm", (3, 2, 2))
    with pytest.raises(ValueError, match=r"\(haswell\) lacks avx512bw, .* for good that they fail"):
        collect.collect([small], wider, path, trials=1, space=TVM)
    assert not path.exists()
    more = tvm.target.Target({**config, "mcpu": "haswell", "num-cores": 4096})
    collect.collect([small], more, path, trials=1, space=TVM, say=said.append)
    assert said[0].startswith("note: the target has 4096 cores and this process may use ")


def test_defaults_that_are_written_out_make_no_other_workload(tmp_path):
    sizes = (1, 4, 8, 8, 16, 3)
    tasks = []
    for shape in (sizes, (*sizes, 1, 0), (*sizes, 1, 0, 1, 1)):
        workload = Workload("named by the user", "conv2d", shape)
        tasks.append(declared(workload, TARGET, TVM, open_workload(workload, TARGET, TVM)))
    assert tasks[0].operator == ("conv2d", (*sizes, 1, 0, 1, 1), "float32")
    assert tasks[1] == tasks[2] == tasks[0]
    early = replace(tasks[0], operator=("conv2d", sizes, "float32"))
    opened = [open_task(TaskTrials(task)) for task in (early, tasks[0])]
    assert opened[0].workload == opened[1].workload


def test_a_seed_is_checked_before_anything_is_opened(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collect, "open_workload", lambda *_: pytest.fail("it takes seconds"))
    path = tmp_path / "set.jsonl"
    assert cli.main(["dataset", str(path), "--workloads", "gemm_128", "--seed", "-1"]) == 2
    assert "expected seed as an int from 0 to 2**31 - 1, got -1" in capsys.readouterr().err
    assert not path.exists()


def test_a_gpu_that_is_not_here_spoils_no_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr("mschedx.inputs.targets.has_gpu", lambda: False)
    gpu = tvm.target.Target("nvidia/nvidia-a100")
    with pytest.raises(ValueError, match="needs an NVIDIA GPU to measure on"):
        collect.collect([gemm(SIZES[0])], gpu, tmp_path / "set.jsonl", trials=1)
    assert not (tmp_path / "set.jsonl").exists()


def test_a_data_set_is_measured_on_the_target_s_cores(tmp_path, monkeypatch):
    seen = []

    def measured(made, target, builder, runner):
        seen.append(runner.cores)
        return np.full(len(made), 1e-6)

    monkeypatch.setattr(collect, "measure_schedules", measured)
    one = tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 1})
    collect.collect([gemm(SIZES[0])], one, tmp_path / "set.jsonl", trials=1, space=TVM)
    assert seen == [1]


def test_progress_stands_beside_the_name_of_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collect, "measure_schedules", lambda made, *_: np.full(len(made), 1e-6))
    path = tmp_path / "set.jsonl"
    options = ["--workloads", "gemm_128", "--trials", "1", "--space", TVM]
    assert cli.main(["dataset", str(path), *options]) == 0
    said = capsys.readouterr()
    assert said.out == f"{path}\n"
    assert "gemm_128: 1 trials, best 0.001 ms" in said.err


def test_a_data_set_of_which_nothing_ran_is_told_from_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collect, "measure_schedules", lambda made, *_: np.full(len(made), np.inf))
    options = ["--workloads", "gemm_128", "--trials", "2", "--space", TVM]
    assert cli.main(["dataset", str(tmp_path / "set.jsonl"), *options]) == 1
    assert "gemm_128: 2 trials, none of which ran" in capsys.readouterr().err


def test_shapes_of_a_users_own_are_collected_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collect, "measure_schedules", lambda made, *_: np.full(len(made), 1e-6))
    path = tmp_path / "set.jsonl"
    options = ["--workloads", "gemm:16,16,8,gemm_128", "--trials", "1", "--space", TVM]
    assert cli.main(["dataset", str(path), *options]) == 0
    assert "gemm_16x16x8: 1 trials" in capsys.readouterr().err
    found = [one.task.operator for one in read_datasets([path], pytest.fail)]
    assert found == [("gemm", (16, 16, 8), "float32"), ("gemm", (128, 128, 128), "float32")]
    assert cli.main(["dataset", str(path), "--workloads", "gemm:16,16", "--trials", "1"]) == 2
    assert "gemm takes the sizes M,N,K" in capsys.readouterr().err


def test_dataset_measures_what_the_file_lacks(tmp_path, capsys, monkeypatch):
    seen = {}

    def fake(workloads, target, path, **options):
        seen.update(names=[w.name for w in workloads], target=target, **options)
        return DatasetFile(path)

    monkeypatch.setattr(collect, "collect", fake)
    path = str(tmp_path / "set.jsonl")
    target = '{"kind": "llvm", "mcpu": "haswell", "num-cores": 2}'
    args = ["dataset", path, "--workloads", "gemm", "--trials", "7", "--target", target]
    assert cli.main(args) == 0
    assert capsys.readouterr().out.strip() == path
    assert seen["names"]
    assert (seen["trials"], seen["space"], seen["seed"]) == (7, None, 0)
    assert int(seen["target"].attrs["num-cores"]) == 2
