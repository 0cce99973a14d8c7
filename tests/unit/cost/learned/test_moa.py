"""Momentum adaptation: pruner.md section 8, fact 14."""

import copy

import numpy as np
import pytest
import torch
from dummy import gemm, target
from programs import part

from mschedx.cost import PAM, Measured, MoA, MoAConfig, PAMConfig, TrainConfig
from mschedx.cost.learned.examples import Examples
from mschedx.cost.learned.moa import MoAModel, average
from mschedx.cost.learned.pam import PAMModel
from mschedx.space import Task, sketches

TRAIN = TrainConfig(epochs=2)
TASK = Task("t")


@pytest.fixture(scope="module")
def sketch():
    return sketches(gemm(), target(), "post-order-apply")[0]


@pytest.fixture(scope="module", params=[False, True], ids=["improved", "published"])
def pretrained(request, tmp_path_factory):
    """Whether it is of the published form, and its file."""
    model = PAMModel(PAMConfig(published=request.param, train=TRAIN))
    model.train(Examples([part("a", 20)]), target_kind=None)
    path = tmp_path_factory.mktemp("moa") / "pam"
    model.save(str(path))
    return request.param, path


def rounds(model, sketch, count):
    """Learn so many rounds of four trials; the weights that score after each."""
    configs = sketch.sample(4 * count, np.random.default_rng(0))
    seconds = 1e-3 * (1 + np.arange(len(configs)) % 7)
    for i in range(1, count + 1):
        model.learn(TASK, [Measured(sketch, configs[: 4 * i], seconds[: 4 * i])])
        yield model.network.network.score.weight.detach().clone()


def test_refits_come_at_every_fourth_update_and_nothing_changes_between(pretrained, sketch):
    published, path = pretrained
    model = MoA(path, MoAConfig(published=published, train=TRAIN)).model
    assert model.ready(TASK)
    asked = [(sketch, sketch.sample(5, np.random.default_rng(1)))]
    last, changed, scores = model.network.network.score.weight.clone(), [], []
    for i, now in enumerate(rounds(model, sketch, 9), start=1):
        if not torch.equal(now, last):
            changed.append(i)
        scores.append(model.score(TASK, asked))
        last = now
    assert changed == [4, 8]
    assert model.updates == 9
    for first, second in ((0, 1), (1, 2), (3, 4), (4, 6), (7, 8)):
        assert np.array_equal(scores[first], scores[second])
    assert not np.array_equal(scores[2], scores[3])


def test_the_slow_network_moves_a_hundredth_towards_the_new(pretrained, sketch):
    published, path = pretrained
    model = MoA(path, MoAConfig(published=published, train=TRAIN)).model
    before = {name: t.clone() for name, t in model.slow.state_dict().items()}
    list(rounds(model, sketch, 4))
    new, after = model.network.state_dict(), model.slow.state_dict()
    buffers = {name for name, _ in model.slow.named_buffers()}
    assert {"statement_scaling.shift", "statement_scaling.scale"} <= buffers
    for name, old in before.items():
        if name in buffers and published:
            assert torch.equal(after[name], old)
        else:
            assert torch.allclose(after[name], 0.99 * old + 0.01 * new[name], atol=1e-6)


def test_after_fifty_refits_the_pretrained_share_is_605_thousandths():
    slow, new = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.ones_(slow.weight)
    torch.nn.init.zeros_(new.weight)
    for _ in range(50):
        average(slow, copy.deepcopy(new), 0.99, buffers=True)
    assert slow.weight.item() == pytest.approx(0.6050, abs=5e-5)


def test_what_adapted_can_be_used_as_a_pam(pretrained, sketch, tmp_path):
    published, path = pretrained
    model = MoA(path, MoAConfig(published=published, train=TRAIN))
    list(rounds(model.model, sketch, 4))
    model.save(str(tmp_path / "adapted"))
    again = PAM(PAMConfig(published=published), tmp_path / "adapted").model
    asked = [(sketch, sketch.sample(5, np.random.default_rng(1)))]
    assert np.array_equal(again.score(TASK, asked), model.model.score(TASK, asked))


def test_programs_are_gathered_for_refits_alone(pretrained, sketch, monkeypatch):
    """There are more of them every round."""
    published, path = pretrained
    model = MoA(path, MoAConfig(published=published, train=TRAIN)).model
    gathered, examples = [], model._programs.examples

    def counted():
        gathered.append(model.updates)
        return examples()

    monkeypatch.setattr(model._programs, "examples", counted)
    list(rounds(model, sketch, 9))
    assert gathered == [4, 8]


def test_a_round_without_news_is_no_update(pretrained, sketch):
    published, path = pretrained
    model = MoA(path, MoAConfig(published=published, train=TRAIN)).model
    trials = Measured(sketch, sketch.sample(4, np.random.default_rng(0)), np.full(4, 1e-3))
    for _ in range(3):
        model.learn(TASK, [trials])
    assert model.updates == 1


def test_there_must_be_something_to_adapt(sketch):
    model = MoAModel(MoAConfig(train=TRAIN, every=1))
    assert not model.ready(TASK)
    with pytest.raises(ValueError, match="expected MoA with pretrained weights"):
        list(rounds(model, sketch, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"momentum": 1.0}, "momentum in"), ({"every": 0}, "every >= 1"), ({"replay": 1}, "replay")],
)
def test_parameters_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        MoAConfig(**change)
