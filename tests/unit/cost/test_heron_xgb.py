import errno
import json
import os

import numpy as np
import pytest
from toy import ToySketch, latency

from mschedx.cost import HeronXGB, Measured
from mschedx.cost.heron_xgb import HeronXGBModel
from mschedx.cost.training_rows import TrainingRows
from mschedx.space import Task

T, A, B = Task("t"), Task("a"), Task("b")


def measured(sketch, n=120, seed=0):
    configs = sketch.sample(n, np.random.default_rng(seed))
    return Measured(sketch, configs, latency(configs))


@pytest.mark.parametrize("quantities", [True, False])
def test_it_learns_to_rank_configs(quantities):
    sketch = ToySketch()
    model = HeronXGBModel(quantities=quantities)
    configs = sketch.sample(300, np.random.default_rng(1))
    assert np.array_equal(model.score(T, [(sketch, configs)]), np.ones(300))
    assert model.importance(T, sketch) is None
    assert not model.ready(T)
    model.learn(T, [measured(sketch)])
    assert model.ready(T)
    scores = model.score(T, [(sketch, configs)])
    assert (scores > 0).all()
    assert np.corrcoef(np.log(scores), -np.log(latency(configs)))[0, 1] > 0.8
    importance = model.importance(T, sketch)
    assert importance.shape == (8,)
    assert (importance >= 0).all()
    assert importance[5] > importance[4]


def test_sketches_of_a_task_are_told_apart():
    sketches = [ToySketch(), ToySketch()]
    configs = sketches[0].sample(200, np.random.default_rng(0))
    model = HeronXGBModel()
    base = latency(configs)
    model.learn(T, [Measured(sketches[0], configs, base), Measured(sketches[1], configs, base / 4)])
    slow, fast = (model.score(T, [(sketch, configs)]) for sketch in sketches)
    assert np.median(fast / slow) == pytest.approx(4, rel=0.15)


def test_tasks_do_not_mix():
    sketch, model = ToySketch(), HeronXGBModel()
    configs = sketch.sample(50, np.random.default_rng(1))
    model.learn(A, [measured(sketch)])
    before = model.score(A, [(sketch, configs)])
    model.learn(B, [Measured(sketch, configs, 1 / latency(configs))])
    assert np.array_equal(model.score(A, [(sketch, configs)]), before)
    assert not np.array_equal(model.score(B, [(sketch, configs)]), before)


def test_configs_like_failed_ones_are_avoided():
    sketch, model = ToySketch(), HeronXGBModel()
    data = measured(sketch, 300)
    failing = data.configs[:, 7] == 8
    seconds = np.where(failing, np.inf, data.latency_s)
    model.learn(T, [Measured(sketch, data.configs, seconds)])
    configs = sketch.sample(500, np.random.default_rng(2))
    scores, bad = model.score(T, [(sketch, configs)]), configs[:, 7] == 8
    assert scores[bad].max() < np.quantile(scores[~bad], 0.1)


def test_a_file_stays_where_another_cannot_be_written(tmp_path, monkeypatch):
    model, path = HeronXGBModel(), tmp_path / "model"
    model.save(str(path))
    before = path.read_bytes()

    def full(file, **_):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left on device"):
        model.save(str(path))
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("model", before)]


@pytest.mark.parametrize("trained", [True, False])
def test_save_and_load_keep_the_scores(tmp_path, trained):
    sketch, model, again = ToySketch(), HeronXGBModel(), HeronXGBModel()
    configs = sketch.sample(50, np.random.default_rng(1))
    if trained:
        model.learn(T, [measured(sketch)])
    path = str(tmp_path / "model.bin")
    model.save(path)
    again.load(path)
    assert np.array_equal(again.score(T, [(sketch, configs)]), model.score(T, [(sketch, configs)]))
    # What is loaded and measured again counts once.
    if trained:
        again.learn(T, [measured(sketch)])
        assert np.array_equal(
            again.score(T, [(sketch, configs)]), model.score(T, [(sketch, configs)])
        )


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "other.bin"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"other.bin: expected a file written by HeronXGB.save"):
        HeronXGB().load(str(path))
    with pytest.raises(FileNotFoundError):
        HeronXGB().load(str(tmp_path / "missing.bin"))


def of_no_block_type(data):
    """The first compressed byte of the header, of a type that there is not."""
    name = data.index(b"header.npy")
    begin = name + len("header.npy") + int.from_bytes(data[name - 2 : name], "little")
    data[begin] = 0xFF


def in_directory(place, value):
    """Another value at a place of every entry of the archive's directory."""

    def damage(data):
        at = data.find(b"PK\x01\x02")
        while at >= 0:
            data[at + place] = value
            at = data.find(b"PK\x01\x02", at + 1)

    return damage


@pytest.mark.parametrize(
    "damage",
    [of_no_block_type, in_directory(8, 1), in_directory(10, 99)],
    ids=["compressed", "encrypted", "method"],
)
def test_a_damaged_file_is_refused(tmp_path, damage):
    path, model = tmp_path / "model", HeronXGBModel()
    model.learn(T, [measured(ToySketch())])
    model.save(str(path))
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"model: expected a file written by HeronXGB\.save"):
        HeronXGB().load(str(path))


@pytest.mark.parametrize(
    "change", [{"tasks": []}, {"sketches": None}, {"format": 99}, {"tasks": {"t": 5}}]
)
def test_a_file_with_another_header_is_refused(tmp_path, change):
    path, model = tmp_path / "model", HeronXGBModel()
    model.learn(T, [measured(ToySketch())])
    model.save(str(path))
    with np.load(path) as stored:
        arrays = dict(stored)
    header = {**json.loads(str(arrays["header"])), **change}
    with path.open("wb") as file:
        np.savez(file, **{**arrays, "header": np.array(json.dumps(header))})
    with pytest.raises(ValueError, match=r"model: expected a file written by HeronXGB\.save"):
        HeronXGB().load(str(path))


def test_a_loaded_model_is_ready_and_tells_the_sketches_apart_as_before(tmp_path):
    first, second = ToySketch(), ToySketch()
    configs = first.sample(200, np.random.default_rng(0))
    model, again = HeronXGBModel(), HeronXGBModel()
    parts = [
        Measured(first, configs, latency(configs)),
        Measured(second, configs, latency(configs) / 4),
    ]
    model.learn(T, parts)
    model.save(str(tmp_path / "model"))
    again.load(str(tmp_path / "model"))
    assert again.ready(T)
    assert not again.ready(A)
    asked = [(second, configs), (first, configs)]
    assert np.array_equal(again.score(T, asked), model.score(T, asked))


def test_trials_that_only_traces_describe_are_learnt_beside_the_others():
    sketch, model = ToySketch(), HeronXGBModel()
    rows = np.arange(60.0)[:, None]
    model.learn(T, [measured(sketch)])
    model.learn_traces(T, TrainingRows(("trace.0",), rows, 1e-3 * (1 + rows[:, 0])))
    scores = model.score_traces(T, TrainingRows(("trace.0",), rows, np.zeros(60)))
    assert np.corrcoef(rows[:, 0], np.log(scores))[0, 1] < -0.9
    configs = sketch.sample(300, np.random.default_rng(1))
    known = model.score(T, [(sketch, configs)])
    assert np.corrcoef(np.log(known), -np.log(latency(configs)))[0, 1] > 0.8
