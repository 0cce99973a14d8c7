"""Training on data sets: from files to a model that ranks tasks it has not seen."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data_sets import SIZES, TARGET, TVM, gemm, written
from safetensors import SafetensorError

from mschedx import cli
from mschedx.bench.collect import open_workload, this_machine
from mschedx.bench.pretrain import pretrain
from mschedx.cost import PAM
from mschedx.cost.base import PRETRAINED_ACCURACY
from mschedx.cost.learned import weights
from mschedx.cost.learned.pam import PAMModel
from mschedx.cost.learned.weights import Card, write


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


def test_the_table_comes_though_the_weights_cannot_be_written(file, tmp_path, monkeypatch, capsys):
    def full(self, path):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(PAMModel, "save", full)
    args = ["train", str(file), "--held-out", "0.25", "--epochs", "1"]
    assert cli.main([*args, "-o", str(tmp_path / "model")]) == 3
    said = capsys.readouterr()
    assert "held-out tasks" in said.out
    assert "No space left on device" in said.err
    assert str(tmp_path / "model") not in said.out


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
