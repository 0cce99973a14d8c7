"""Training on data sets: from files to a model that ranks tasks it has not seen."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import tvm
from safetensors import SafetensorError

import mschedx.space
from mschedx import cli
from mschedx.bench.collect import declared, open_workload, this_machine
from mschedx.bench.opened_tasks import OpenedTask, open_task, split
from mschedx.bench.pretrain import pretrain
from mschedx.bench.pretrain_metrics import card_metrics, evaluate
from mschedx.cost import PAM
from mschedx.cost.base import PRETRAINED_ACCURACY
from mschedx.cost.learned import weights
from mschedx.cost.learned.features import ProgramFeatures
from mschedx.cost.learned.pam import PAMModel
from mschedx.cost.learned.weights import Card, write
from mschedx.record.dataset import DatasetFile, DatasetTask, TaskTrials, read_datasets
from mschedx.space.errors import EmptySpace, SparseSpace
from mschedx.space.sketch import Sketch
from mschedx.space.task import Task
from mschedx.workloads import Workload

TARGET = tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
TVM = "post-order-apply"
SIZES = ((64, 48, 32), (32, 96, 64), (48, 48, 48), (96, 32, 32))


def gemm(sizes):
    return Workload("gemm", "gemm", sizes)


def written(path, sizes=SIZES, n=40, failing=(), space=TVM, on=TARGET):
    """A data set of made-up latencies, longer where tiles touch more."""
    file = DatasetFile(path)
    for number, size in enumerate(sizes):
        sketches = open_workload(gemm(size), on, space)
        task = declared(gemm(size), on, space, sketches)
        file.declare(task)
        for index, sketch in enumerate(sketches):
            configs = sketch.sample(n, np.random.default_rng(number))
            rows = ProgramFeatures.of(sketch)(configs).statements[:, :, :60].astype(np.float64)
            seconds = 1e-6 * np.exp2(rows.sum(axis=(1, 2)) / 40)
            if number in failing:
                seconds[:] = np.inf
            file.append(task.key, index, configs, seconds)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data") / "set.jsonl")


def test_a_model_trained_on_some_tasks_ranks_others(file, tmp_path, capsys):
    output = tmp_path / "model"
    args = ["train", str(file), "-o", str(output), "--held-out", "0.25", "--epochs", "15"]
    assert cli.main(args) == 0
    said = capsys.readouterr()
    assert "2 tasks to train on" in said.err
    assert "1 task to test on" in said.err
    assert "held-out tasks" in said.out
    assert "gemm" in said.out
    card = json.loads((tmp_path / "model.json").read_text())
    origin = card["trained_on"]
    assert (origin["tasks"], origin["programs"], origin["files"]) == (2, 240, ["set.jsonl"])
    assert origin["machines"] == [this_machine()]
    assert origin["spaces"] == {TVM: len(SIZES)}
    assert card["metrics_from"] == "1 of the tasks of these files, held out"
    assert card["target_kind"] == "llvm"
    assert card["metrics"]["pairwise accuracy"] > 0.6
    assert 0 < card["metrics"]["top-5 (mean of tasks)"] <= 1
    model = PAM(pretrained=output).model
    sketch = open_workload(gemm((64, 64, 64)), TARGET, TVM)[0]
    assert model.ready(sketch.task)
    configs = sketch.sample(5, np.random.default_rng(0))
    assert (model.score(sketch.task, [(sketch, configs)]) > 0).all()


@pytest.mark.parametrize("name", ["tlp", "one-shot", "felix"])
def test_every_model_can_be_trained(file, tmp_path, capsys, name):
    output = tmp_path / "model"
    args = ["train", str(file), "-o", str(output), "--model", name, "--held-out", "0.25"]
    assert cli.main([*args, "--epochs", "2"]) == 0
    assert "held-out tasks" in capsys.readouterr().out
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["trained_on"]["files"] == ["set.jsonl"]
    assert {"pairwise accuracy", "best-1 of a quarter"} <= set(card["metrics"])


def test_weights_are_gone_on_from(file, tmp_path, capsys):
    """As those of another processor are; a step later they are near where they began."""
    assert (
        cli.main(["train", str(file), "-o", str(tmp_path / "a.safetensors"), "--epochs", "2"]) == 0
    )
    first, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    args = ["train", str(file), "-o", str(again), "--start", str(first), "--epochs", "1"]
    assert cli.main(args) == 0
    capsys.readouterr()
    one, two = PAM(pretrained=first).model, PAM(pretrained=again).model
    moved = [
        float((two.network.state_dict()[name] - value).abs().max())
        for name, value in one.network.state_dict().items()
    ]
    assert 0 < max(moved) < 0.05
    assert two.card.trained_on["begun from"]["weights"] == first.name
    assert two.card.trained_on["begun from"]["tasks"] == one.card.trained_on["tasks"]
    assert cli.main([*args, "--model", "felix"]) == 2
    assert "without a start" in capsys.readouterr().err


def test_a_figure_from_elsewhere_stands_in_the_card_of_what_holds_nothing_out(file, tmp_path):
    quiet = {"epochs": 1, "say": lambda text: None}
    pretrain([file], tmp_path / "m", held_out=0, accuracy=0.7, **quiet)
    assert PAM(pretrained=tmp_path / "m").model.skill() == 0.7
    pretrain([file], tmp_path / "m", held_out=0, **quiet)
    assert PAM(pretrained=tmp_path / "m").model.skill() == PRETRAINED_ACCURACY
    assert PAM().model.skill() is None, "of a new model nothing is known"
    for wrong in ({"held_out": 0, "accuracy": 1.5}, {"held_out": 0.2, "accuracy": 0.7}):
        with pytest.raises(ValueError, match="expected an accuracy"):
            pretrain([file], tmp_path / "m", **wrong)


def test_a_task_without_an_order_leaves_the_means_of_the_others():
    """All scores of one are equal, as of two configs of one program; all latencies of another."""
    latency_s = np.array([1e-6, 2e-6, 3e-6])
    tasks = [
        SimpleNamespace(name=name, latency_s=seconds, scores=lambda model, s=scores: s)
        for name, seconds, scores in (
            ("a", latency_s, 1 / latency_s),
            ("b", latency_s, np.ones(3)),
            ("c", np.ones(3), 1 / latency_s),
        )
    ]
    *_, overall = evaluate(None, tasks)
    assert overall.correlation == pytest.approx(1.0)
    assert overall.pairs == pytest.approx((1.0 + 0.5) / 2)
    assert {"pairwise accuracy", "rank correlation"} <= set(card_metrics(overall))
    *_, none = evaluate(None, tasks[2:])
    assert np.isnan(none.pairs)
    assert "pairwise accuracy" not in card_metrics(none)


def test_a_cut_data_set_loses_its_last_line_only_and_it_is_said(file, tmp_path):
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(file.read_bytes()[:-100])
    cut.chmod(0o444)
    before = cut.read_bytes()
    said = []
    pretrain([cut], tmp_path / "m", held_out=0, epochs=1, say=said.append)
    assert any("cut.jsonl: line 16 was set aside" in line for line in said)
    assert sum(map(len, read_datasets([cut]))) == 40 * 12 - 40
    assert cut.read_bytes() == before, "reading writes nothing"
    cut.chmod(0o644)
    grown = DatasetFile(cut)
    key = next(iter(grown.tasks))
    grown.append(key, 0, grown.tasks[key].configs[0][:1], np.array([1e-6]))
    assert sum(map(len, read_datasets([cut]))) == 40 * 12 - 40 + 1, "what follows is whole"


def test_a_last_line_without_its_newline_is_read(file, tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_bytes(file.read_bytes().rstrip(b"\n"))
    assert sum(map(len, read_datasets([path], pytest.fail))) == 40 * 12


def on_another_machine(file, path):
    """The same data set as if another machine had measured it, all twice as slow."""
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "task":
            line["machine"]["cpu"] = "another"
        else:
            line["latency_s"] = [2 * s for s in line["latency_s"]]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("how", ["two files", "one file"])
def test_what_two_machines_measured_is_kept_apart_and_held_out_together(file, tmp_path, how):
    other = on_another_machine(file, tmp_path / "other.jsonl")
    paths, said = [file, other], []
    if how == "one file":
        paths = [tmp_path / "both.jsonl"]
        paths[0].write_text(file.read_text() + other.read_text())
    found = read_datasets(paths, said.append)
    assert len(found) == 2 * len(SIZES)
    assert sum("with another machine: kept apart" in text for text in said) == (
        len(SIZES) if how == "one file" else 0
    )
    tasks = [open_task(one) for one in found]
    assert len({task.task.key for task in tasks}) == 2 * len(SIZES)
    rest, aside = split(tasks, 0.25, np.random.default_rng(0))
    assert len(aside) == 2
    assert not {task.workload for task in rest} & {task.workload for task in aside}
    for one, two in zip(found, found[len(SIZES) :]):
        np.testing.assert_allclose(two.latency_s[0], 2 * one.latency_s[0])


def test_a_workload_in_two_spaces_and_for_two_targets_is_held_out_whole(file, tmp_path):
    sizes = SIZES[:2]
    own = written(tmp_path / "own.jsonl", sizes, n=2, space=None)
    fewer = tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 1})
    other = written(tmp_path / "other.jsonl", sizes, n=2, on=fewer)
    tasks = [open_task(one) for one in read_datasets([file, own, other])]
    assert len({task.task.key for task in tasks}) == len(tasks) == len(SIZES) + 4
    assert len({task.workload for task in tasks}) == len(SIZES)
    for seed in range(8):
        rest, aside = split(tasks, 0.5, np.random.default_rng(seed))
        assert rest
        assert not {task.name for task in rest} & {task.name for task in aside}


def test_files_of_one_machine_are_put_together(file, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(file.read_bytes())
    found = read_datasets([file, copy], pytest.fail)
    assert len(found) == len(SIZES)
    assert sum(map(len, found)) == 2 * 40 * 12


def test_a_sketch_without_decisions_is_read_back(tmp_path):
    task = DatasetTask("k", ("mean", (8, 8), "float32"), {}, None, {}, ((), ("a",)))
    file = DatasetFile(tmp_path / "set.jsonl")
    file.declare(task)
    file.append("k", 0, np.empty((2, 0), dtype=np.int64), np.array([1e-6, np.inf]))
    (found,) = read_datasets([tmp_path / "set.jsonl"], pytest.fail)
    assert [one.shape for one in found.configs] == [(2, 0), (0, 1)]
    assert found.latency_s[0].tolist() == [1e-6, np.inf]


def test_no_config_is_measured_twice(tmp_path, monkeypatch):
    from mschedx.bench import collect as module

    monkeypatch.setattr(module, "measure_schedules", lambda made, *_: np.full(len(made), 1e-6))
    small, said = Workload("small", "gemm", (3, 2, 2)), []
    path = tmp_path / "set.jsonl"
    for _ in range(2):  # the second finds all in the file
        file = module.collect([small], TARGET, path, trials=10_000, space=TVM, say=said.append)
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
    from mschedx.bench import collect as module

    opened, said = mschedx.space.sketches, []

    def some_sparse(mod, target, space=None):
        found = opened(mod, target, space)
        others = found[1:] if int(mod["main"].params[0].shape[0]) == SIZES[0][0] else []
        return [Sparse(found[0].design), *others]

    def seconds(made, *_):
        return np.linspace(1e-6, 2e-6, len(made))

    monkeypatch.setattr(mschedx.space, "sketches", some_sparse)
    monkeypatch.setattr(module, "measure_schedules", seconds)
    path = tmp_path / "set.jsonl"
    other, one = gemm(SIZES[1]), gemm(SIZES[0])
    file = module.collect([other, one], TARGET, path, trials=20, space=TVM, say=said.append)
    (known,) = file.tasks.values()
    assert len(known) == 20
    assert len(known.task.decisions) == len(opened(one.func(), TARGET, TVM)) - 1
    assert said[0].startswith("gemm is left out: ")
    assert "no config is found by chance" in said[0]
    with pytest.raises(EmptySpace, match="can be measured: gemm: none of 1 sketches has a"):
        module.collect([other], TARGET, tmp_path / "other", trials=1, space=TVM, say=said.append)
    file.declare(replace(known.task, operator=("gemm", SIZES[1], "float32"), key="other"))
    file.append("other", 0, known.configs[0][:2], np.array([1e-6, 2e-6]))
    said.clear()
    pretrain([path], tmp_path / "m", held_out=0, epochs=1, say=said.append)
    assert any(line.startswith("gemm 32x96x64 float32 is left out: ") for line in said)
    assert any(line.startswith("1 task to train on") for line in said)


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
    from mschedx.bench import collect as module

    monkeypatch.setattr(module, "open_workload", lambda *_: pytest.fail("it takes seconds"))
    path = tmp_path / "set.jsonl"
    assert cli.main(["dataset", str(path), "--workloads", "gemm_128", "--seed", "-1"]) == 2
    assert "expected seed as an int from 0 to 2**31 - 1, got -1" in capsys.readouterr().err
    assert not path.exists()


def test_a_gpu_that_is_not_here_spoils_no_data_set(tmp_path, monkeypatch):
    from mschedx.bench import collect as module

    monkeypatch.setattr("mschedx.inputs.targets.has_gpu", lambda: False)
    gpu = tvm.target.Target("nvidia/nvidia-a100")
    with pytest.raises(ValueError, match="needs an NVIDIA GPU to measure on"):
        module.collect([gemm(SIZES[0])], gpu, tmp_path / "set.jsonl", trials=1)
    assert not (tmp_path / "set.jsonl").exists()


def test_a_data_set_is_measured_on_the_target_s_cores(tmp_path, monkeypatch):
    from mschedx.bench import collect as module

    seen = []

    def measured(made, target, builder, runner):
        seen.append(runner.cores)
        return np.full(len(made), 1e-6)

    monkeypatch.setattr(module, "measure_schedules", measured)
    one = tvm.target.Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 1})
    module.collect([gemm(SIZES[0])], one, tmp_path / "set.jsonl", trials=1, space=TVM)
    assert seen == [1]


def test_progress_stands_beside_the_name_of_the_file(tmp_path, monkeypatch, capsys):
    from mschedx.bench import collect as module

    monkeypatch.setattr(module, "measure_schedules", lambda made, *_: np.full(len(made), 1e-6))
    path = tmp_path / "set.jsonl"
    options = ["--workloads", "gemm_128", "--trials", "1", "--space", TVM]
    assert cli.main(["dataset", str(path), *options]) == 0
    said = capsys.readouterr()
    assert said.out == f"{path}\n"
    assert "gemm_128: 1 trials, best 0.001 ms" in said.err


def test_a_data_set_of_which_nothing_ran_is_told_from_others(tmp_path, monkeypatch, capsys):
    from mschedx.bench import collect as module

    monkeypatch.setattr(module, "measure_schedules", lambda made, *_: np.full(len(made), np.inf))
    options = ["--workloads", "gemm_128", "--trials", "2", "--space", TVM]
    assert cli.main(["dataset", str(tmp_path / "set.jsonl"), *options]) == 1
    assert "gemm_128: 2 trials, none of which ran" in capsys.readouterr().err


def test_shapes_of_a_users_own_are_collected_on_the_command_line(tmp_path, monkeypatch, capsys):
    from mschedx.bench import collect as module

    monkeypatch.setattr(module, "measure_schedules", lambda made, *_: np.full(len(made), 1e-6))
    path = tmp_path / "set.jsonl"
    options = ["--workloads", "gemm:16,16,8,gemm_128", "--trials", "1", "--space", TVM]
    assert cli.main(["dataset", str(path), *options]) == 0
    assert "gemm_16x16x8: 1 trials" in capsys.readouterr().err
    found = [one.task.operator for one in read_datasets([path], pytest.fail)]
    assert found == [("gemm", (16, 16, 8), "float32"), ("gemm", (128, 128, 128), "float32")]
    assert cli.main(["dataset", str(path), "--workloads", "gemm:16,16", "--trials", "1"]) == 2
    assert "gemm takes the sizes M,N,K" in capsys.readouterr().err


def test_tasks_are_counted_as_they_are_used(file, tmp_path):
    said = []
    pretrain([file], tmp_path / "m", epochs=1, held_out=0.25, say=said.append)
    assert [line.split(":")[0] for line in said[:3]] == [
        "2 tasks to train on", "1 task to choose weights on", "1 task to test on",
    ]  # fmt: skip
    said.clear()
    pretrain([file], tmp_path / "f", model="felix", held_out=0.25, say=said.append)
    assert [line.split(":")[0] for line in said[:2]] == [
        "3 tasks to train on", "1 task to test on",
    ]  # fmt: skip


def test_a_task_of_which_every_measurement_failed_is_left_out_and_named(tmp_path):
    path = written(tmp_path / "set.jsonl", SIZES[:2], n=6, failing=(1,))
    said = []
    tested = pretrain([path], tmp_path / "m", epochs=1, say=said.append)
    assert "gemm 32x96x64 float32 is left out: 0 of 18 trials ran" in said
    assert tested == []
    path = written(tmp_path / "failed.jsonl", SIZES[:1], n=4, failing=(0,))
    with pytest.raises(ValueError, match="expected tasks of which at least two trials ran"):
        pretrain([path], tmp_path / "m", say=said.append)


def test_the_same_seed_writes_the_same_weights(file, tmp_path):
    from safetensors.torch import load_file

    found = []
    for run, seed in enumerate((1, 1, 2)):
        pretrain([file], tmp_path / str(run), epochs=1, seed=seed, say=lambda text: None)
        found.append(load_file(str(tmp_path / str(run)))["network.score.weight"])
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


def test_a_space_that_has_changed_is_an_error(file, tmp_path):
    text = file.read_text().replace('"post-order-apply"', "null", 1)
    path = tmp_path / "other.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="the space has changed since; collect the data set again"):
        open_task(read_datasets([path])[0])


def test_tasks_are_put_aside_whole():
    rng = np.random.default_rng(0)
    tasks = [OpenedTask(str(i), str(i), Task(str(i)), []) for i in range(10)]
    rest, aside = split(tasks, 0.2, rng)
    assert (len(rest), len(aside)) == (8, 2)
    assert sorted(one.name for one in [*rest, *aside]) == [one.name for one in tasks]
    assert split(tasks, 0.0, rng)[1] == []
    assert split(tasks[:1], 0.5, rng) == (tasks[:1], [])
    assert len(split(tasks[:2], 0.99, rng)[0]) == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["missing.jsonl"], "missing.jsonl: expected a data set"),
        (["missing.jsonl", "--seed", "-1"], "expected seed as an int from 0 to 2**31 - 1, got -1"),
        (["FILE", "--held-out", "1"], "expected a held-out share in [0, 1), got 1.0"),
        (["FILE", "--epochs", "0"], "TrainConfig.epochs >= 1, got 0"),
        (["FILE", "--model", "x"], "expected a model of pam, tlp, one-shot, felix, got 'x'"),
    ],
)
def test_bad_requests_end_with_one_line(args, says, file, capsys):
    assert cli.main(["train", *(str(file) if a == "FILE" else a for a in args)]) == 2
    assert says in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, capsys):
    for output in ("/proc/model", tmp_path):
        assert cli.main(["train", "missing.jsonl", "-o", str(output)]) == 3
        said = capsys.readouterr().err
        assert said.startswith("mschedx: ")
        assert "missing.jsonl" not in said


def test_weights_find_their_folder_and_replace_others_when_they_are_whole(
    file, tmp_path, monkeypatch
):
    output = tmp_path / "new" / "model"

    def train():
        pretrain([file], output, held_out=0, epochs=1, say=lambda text: None)

    def full(self, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device", path)

    train()
    before = output.read_bytes()
    monkeypatch.setattr(PAMModel, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train()
    assert output.read_bytes() == before
    assert sorted(path.name for path in output.parent.iterdir()) == ["model", "model.json"]


def test_weights_stay_where_others_cannot_be_written(tmp_path, monkeypatch):
    path, card = tmp_path / "model", Card("X", False, None, {})
    write(path, {"w": torch.ones(2)}, card)
    before = path.read_bytes()

    def full(_, file, **__):
        Path(file).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(OSError, match=r"model cannot be written: .*No space left on device"):
        write(path, {"w": torch.zeros(2)}, card)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("model", before)]


def test_weights_that_cannot_be_written_are_an_error_of_the_system(tmp_path):
    card = Card("X", False, None, {})
    with pytest.raises(OSError, match="cannot be written"):
        write(tmp_path / "no" / "folder", {"w": torch.ones(2)}, card)


def test_a_draft_is_a_quarter_of_each_task_s_trials():
    """The best of 256 comes up as the 60th, the best of 16 as the first."""
    seconds = np.arange(2.0, 258.0)
    seconds[59] = 1.0
    tasks = [
        SimpleNamespace(name="long", latency_s=seconds, scores=lambda _: -np.arange(256.0)),
        SimpleNamespace(
            name="short", latency_s=np.arange(1.0, 17.0), scores=lambda _: -np.arange(16.0)
        ),
    ]
    long, short, both = evaluate(None, tasks)
    assert long.best == (1.0, 1 / 5)
    assert short.best == (1.0, 1 / 4), "of a draft of four the fourth counts as the fifth"
    assert both.best == (1.0, 2 / 9)


def test_dataset_measures_what_the_file_lacks(tmp_path, capsys, monkeypatch):
    from mschedx.bench import collect

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
