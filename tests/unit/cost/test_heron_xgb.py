import numpy as np
import pytest
import tvm_ffi
from toy import ToySketch, latency
from tvm.s_tir.meta_schedule.cost_model import CostModel

from mschedx.cost import ArrayModel, HeronXGB, Measured, TreeConfig
from mschedx.cost.adapter import latency_of, live_model


def measured(sketch, n=120, seed=0):
    configs = sketch.sample(n, np.random.default_rng(seed))
    return Measured(sketch, configs, latency(configs))


@pytest.mark.parametrize("quantities", [True, False])
def test_it_learns_to_rank_configs(quantities):
    sketch = ToySketch()
    model = HeronXGB(quantities=quantities)
    configs = sketch.sample(300, np.random.default_rng(1))
    assert np.array_equal(model.score("t", [(sketch, configs)]), np.ones(300))
    assert model.importance("t", sketch) is None
    model.learn("t", [measured(sketch)])
    scores = model.score("t", [(sketch, configs)])
    assert (scores > 0).all()
    assert np.corrcoef(np.log(scores), -np.log(latency(configs)))[0, 1] > 0.8
    importance = model.importance("t", sketch)
    assert importance.shape == (8,)
    assert (importance >= 0).all()
    assert importance[5] > importance[4]


def test_sketches_of_a_task_are_told_apart():
    sketches = [ToySketch(), ToySketch()]
    configs = sketches[0].sample(200, np.random.default_rng(0))
    model = HeronXGB()
    base = latency(configs)
    model.learn(
        "t", [Measured(sketches[0], configs, base), Measured(sketches[1], configs, base / 4)]
    )
    slow, fast = (model.score("t", [(sketch, configs)]) for sketch in sketches)
    assert np.median(fast / slow) == pytest.approx(4, rel=0.15)


def test_tasks_do_not_mix():
    sketch, model = ToySketch(), HeronXGB()
    configs = sketch.sample(50, np.random.default_rng(1))
    model.learn("a", [measured(sketch)])
    before = model.score("a", [(sketch, configs)])
    model.learn("b", [Measured(sketch, configs, 1 / latency(configs))])
    assert np.array_equal(model.score("a", [(sketch, configs)]), before)
    assert not np.array_equal(model.score("b", [(sketch, configs)]), before)


def test_configs_like_failed_ones_are_avoided():
    sketch, model = ToySketch(), HeronXGB()
    data = measured(sketch, 300)
    failing = data.configs[:, 7] == 8
    seconds = np.where(failing, np.inf, data.latency_s)
    model.learn("t", [Measured(sketch, data.configs, seconds)])
    configs = sketch.sample(500, np.random.default_rng(2))
    scores, bad = model.score("t", [(sketch, configs)]), configs[:, 7] == 8
    assert scores[bad].max() < np.quantile(scores[~bad], 0.1)


@pytest.mark.parametrize("trained", [True, False])
def test_save_and_load_keep_the_scores(tmp_path, trained):
    sketch, model, again = ToySketch(), HeronXGB(), HeronXGB()
    configs = sketch.sample(50, np.random.default_rng(1))
    if trained:
        model.learn("t", [measured(sketch)])
    path = str(tmp_path / "model.bin")
    model.save(path)
    again.load(path)
    assert np.array_equal(
        again.score("t", [(sketch, configs)]), model.score("t", [(sketch, configs)])
    )
    # What is loaded and measured again counts once.
    if trained:
        again.learn("t", [measured(sketch)])
        assert np.array_equal(
            again.score("t", [(sketch, configs)]), model.score("t", [(sketch, configs)])
        )


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "other.bin"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"other.bin: expected a file written by HeronXGB.save"):
        HeronXGB().load(str(path))
    # TVM's calling convention keeps the message and loses the class.
    with pytest.raises(RuntimeError, match="No such file"):
        HeronXGB().load(str(tmp_path / "missing.bin"))


def test_a_bare_handle_leads_back_to_the_model():
    model, other = HeronXGB(TreeConfig(rounds=7)), HeronXGB()
    # Into a container of TVM's and out again: what a strategy gets to see.
    handle = tvm_ffi.Array([model])[0]
    assert not hasattr(handle, "config")
    found = live_model(handle)
    assert isinstance(found, ArrayModel)
    assert found.config.rounds == 7
    assert live_model(other) is not found
    assert live_model(CostModel.create("random")) is None
    assert live_model(None) is None


def test_latencies_of_records():
    assert latency_of([3.0, 1.0, 2.0]) == 2.0
    assert latency_of([1e10]) == latency_of(None) == latency_of([]) == np.inf
    with pytest.raises(ValueError, match=r"expected configs \[n, D\] and latency_s \[n\]"):
        Measured(ToySketch(), np.ones((2, 8), np.int64), np.ones(3))
