"""PAM as a cost model: what it learns, what its scores are, what its files are."""

import copy
import json
import time

import numpy as np
import pytest
import torch
from dummy import gemm, relu, target
from programs import part
from safetensors.torch import load_file, save_file

from mschedx.cost import PAM, Differentiable, Measured, PAMConfig, TrainConfig, TVMCostModel
from mschedx.cost.learned import ranking_model
from mschedx.cost.learned.examples import Examples
from mschedx.cost.learned.features import ProgramFeatures
from mschedx.cost.learned.metrics import rank_correlation
from mschedx.cost.learned.pam import PAMModel
from mschedx.cost.learned.ranking_model import positive
from mschedx.space import Task, sketches

QUICK = PAMConfig(train=TrainConfig(epochs=10, warm_epochs=4, learning_rate=2e-3))
TASK = Task("t")


@pytest.fixture(scope="module")
def space():
    return sketches(gemm(), target(), "post-order-apply")


def seconds(sketch, configs):
    """Longer where tiles touch more bytes, and where vectors are short."""
    rows = ProgramFeatures.of(sketch)(configs).statements
    return 1e-5 * np.exp2(rows[:, :, :60].astype(np.float64).sum(axis=(1, 2)) / 60)


def measured(space, n=60, seed=0):
    found = []
    for sketch in space:
        configs = sketch.sample(n, np.random.default_rng(seed))
        found.append(Measured(sketch, configs, seconds(sketch, configs)))
    return found


@pytest.fixture(scope="module")
def learnt(space):
    model = PAMModel(QUICK)
    model.learn(TASK, measured(space))
    return model


def asked(space, n=40, seed=7):
    return [(sketch, sketch.sample(n, np.random.default_rng(seed))) for sketch in space]


def test_it_ranks_configs_it_has_not_seen(space, learnt):
    assert learnt.ready(TASK)
    assert not learnt.ready(Task("another"))
    questions = asked(space)
    latency_s = np.concatenate([seconds(*one) for one in questions])
    assert rank_correlation(latency_s, learnt.score(TASK, questions)) > 0.6


def test_scores_are_positive_and_do_not_depend_on_what_is_asked_with_them(space, learnt):
    """Fact 15."""
    questions = asked(space)
    together = learnt.score(TASK, questions)
    assert (together > 0).all()
    apart = [learnt.score(TASK, [(s, c[None])])[0] for s, cs in questions for c in cs[:3]]
    first = np.concatenate([together[start : start + 3] for start in (0, 40, 80)])
    assert np.allclose(apart, first, rtol=1e-4)
    assert len(learnt.score(TASK, [(space[0], questions[0][1][:0])])) == 0


def test_positive_keeps_the_order_of_negative_logits():
    """Fact 15: all logits negative."""
    logits = np.array([-600.0, -90.0, -89.5, -3.0, 0.0, 4.0, 900.0])
    scores = positive(logits)
    assert (scores > 0).all()
    assert (np.diff(scores) > 0).all()
    assert np.isfinite(positive(np.array([-1e9]))).all()


def test_relaxed_scores_are_the_scores_at_configs(space, learnt):
    assert isinstance(learnt, Differentiable)
    sketch, configs = asked(space, 6)[0]
    x = torch.tensor(configs, dtype=torch.float64, requires_grad=True)
    relaxed = learnt.relaxed_score(TASK, sketch, x)
    exact = learnt.score(TASK, [(sketch, configs)])
    assert np.allclose(relaxed.detach().numpy(), exact, rtol=1e-3)
    (slope,) = torch.autograd.grad(relaxed.sum(), x)
    assert (slope != 0).any()


def test_training_waits_for_a_question_and_goes_on_from_where_it_was(space):
    model = PAMModel(QUICK)
    model.learn(TASK, measured(space, 8))
    assert model.network is None
    model.score(TASK, asked(space, 2))
    network = model.network
    before = network.statement_scaling.shift.clone()
    weights = network.network.score.weight.clone()
    model.score(TASK, asked(space, 2))
    assert torch.equal(network.network.score.weight, weights)
    model.learn(TASK, measured(space, 12))
    model.score(TASK, asked(space, 2))
    assert torch.equal(model.network.statement_scaling.shift, before)
    moved = (model.network.network.score.weight - weights).abs().max()
    assert 0 < moved < 0.1, "as far as a few steps go, not anew"
    model.learn(TASK, measured(space, 12))
    assert not model._pending


@pytest.mark.parametrize("published", [False, True])
def test_training_that_is_cut_short_leaves_the_model_as_it_was(space, monkeypatch, published):
    model = PAMModel(PAMConfig(published=published, train=TrainConfig(epochs=2, warm_epochs=2)))
    model.learn(TASK, measured(space, 8))
    model.score(TASK, asked(space, 2))
    weights, card = copy.deepcopy(model.network.state_dict()), model.card

    def spoilt(network, *_, **__):
        with torch.no_grad():
            for weight in network.parameters():
                weight.fill_(torch.nan)
        raise KeyboardInterrupt

    model.learn(TASK, measured(space, 12))
    with monkeypatch.context() as patched:
        patched.setattr(ranking_model, "fit", spoilt)
        for _ in range(2):  # what was measured is still to be learnt
            with pytest.raises(KeyboardInterrupt):
                model.score(TASK, asked(space, 2))
    assert model.card == card
    assert all(torch.equal(weights[k], now) for k, now in model.network.state_dict().items())
    assert np.isfinite(model.score(TASK, asked(space, 2))).all()
    assert model.card != card


def test_the_published_form_starts_anew_every_round(space):
    model = PAMModel(PAMConfig(published=True, train=TrainConfig(epochs=2)))
    assert not model.config.train.by_task
    waits = {n: PAMConfig(published=True, train=TrainConfig(epochs=n)).train for n in (1, 48, 50)}
    assert {n: round(t.patience * n) for n, t in waits.items()} == {1: 1, 48: 16, 50: 16}
    model.learn(TASK, measured(space, 8))
    first = model.score(TASK, asked(space, 3))
    network = model.network
    model.learn(TASK, measured(space, 9))
    assert len(model.score(TASK, asked(space, 3))) == len(first)
    assert model.network is not network
    single = model.score(TASK, [(space[0], asked(space, 1)[0][1])])
    assert single.shape == (1,)


def test_the_same_seed_gives_the_same_scores(space):
    scores = []
    for seed in (1, 1, 2):
        model = PAMModel(QUICK, seed)
        model.learn(TASK, measured(space, 6))
        scores.append(model.score(TASK, asked(space, 4)))
    assert np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


@pytest.mark.performance
def test_ten_thousand_configs_are_scored_in_a_second():
    """CPU time of this process, for the machine may be busy with others: 0.8 s on one core."""
    sketch = sketches(gemm(256, 256, 256), target())[0]
    configs = sketch.sample(10_000, np.random.default_rng(0))
    model = PAMModel(QUICK)
    model.learn(TASK, [Measured(sketch, configs[:8], 1e-3 * np.arange(1.0, 9.0))])
    model.score(TASK, [(sketch, configs[:8])])
    start = time.process_time()
    scores = model.score(TASK, [(sketch, configs)])
    assert time.process_time() - start < 1.6
    assert len(scores) == 10_000


def test_a_task_of_which_every_measurement_failed_teaches_nothing(space):
    model = PAMModel(QUICK)
    failed = [Measured(m.sketch, m.configs, np.full(5, np.inf)) for m in measured(space, 5)]
    model.learn(TASK, failed)
    assert not model.ready(TASK)
    assert (model.score(TASK, asked(space, 3)) == 1).all()


def test_a_space_of_one_config_has_one_score():
    sketch = sketches(relu(7), target(), "post-order-apply")[0]
    config = sketch.sample(1, np.random.default_rng(0))
    model = PAMModel(QUICK)
    model.learn(TASK, [Measured(sketch, config, np.array([1e-3]))])
    assert model.ready(TASK)
    assert model.score(TASK, [(sketch, config)]).tolist() == [1.0]


def test_weights_that_predict_nan_are_an_error(space):
    model = PAMModel(QUICK)
    model.learn(TASK, measured(space, 4))
    model.score(TASK, asked(space, 1))
    with torch.no_grad():
        model.network.network.score.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="PAM predicted nan for 2 of 2 programs"):
        model.score(TASK, [(space[0], asked(space, 2)[0][1])])


def test_a_model_serves_one_kind_of_target(space):
    import tvm

    model = PAMModel(QUICK)
    model.learn(space[0].task, measured(space, 2))
    cuda = Task("g", "gpu task", tvm.target.Target("nvidia/nvidia-a100"))
    with pytest.raises(ValueError, match=r"expected tasks for llvm, .* got gpu task for cuda"):
        model.ready(cuda)


# Files.


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    model = PAMModel(QUICK)
    model.train(Examples([part("a", 30), part("b", 30, seed=1)]), target_kind="llvm")
    path = tmp_path_factory.mktemp("pam") / "model.safetensors"
    model.save(str(path))
    return path


def test_a_pretrained_model_is_ready_for_every_task(file, space):
    model = PAM(pretrained=file)
    assert isinstance(model, TVMCostModel)
    assert model.model.ready(space[0].task)
    again = PAM()
    again.load(str(file))
    questions = asked(space, 3)
    assert np.array_equal(again.model.score(TASK, questions), model.model.score(TASK, questions))
    assert again.model.card.trained_on == {"tasks": 2, "programs": 60}
    assert again.model.card.licence


def test_what_was_learnt_while_tuning_is_saved_too(space, learnt, tmp_path):
    path = str(tmp_path / "m")
    learnt.save(path)
    again = PAMModel()
    again.load(path)
    assert np.array_equal(again.score(TASK, asked(space)), learnt.score(TASK, asked(space)))


def rewritten(file, path, **changes):
    """The same weights with another card."""
    from safetensors import safe_open

    with safe_open(str(file), "pt") as stored:
        card = json.loads(stored.metadata()["card"])
    tensors = load_file(str(file))
    tensors |= changes.pop("tensors", {})
    save_file(tensors, str(path), metadata={"card": json.dumps({**card, **changes})})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "expected format 1, got 99; train"),
        ({"model": "FelixMLP"}, "expected model 'PAM', got 'FelixMLP'"),
        ({"published": True}, "expected published False, got True"),
        ({"columns": {"statements": ["a"]}}, "expected [0-9]+ columns of statements, got 1 that"),
        ({"tensors": {"network.score.bias": torch.zeros(2)}}, "expected the weights of PAM"),
        ({"surprise": 1}, "expected a file written by PAM.save"),
    ],
)
def test_files_of_other_models_are_refused(changes, message, file, tmp_path):
    with pytest.raises(ValueError, match=message):
        PAM(pretrained=rewritten(file, tmp_path / "m", **changes))


def test_a_model_for_another_kind_of_target_is_refused_where_it_is_used(file, space, tmp_path):
    model = PAM(pretrained=rewritten(file, tmp_path / "m", target_kind="cuda")).model
    with pytest.raises(ValueError, match=r"expected tasks for cuda, .* got main for llvm"):
        model.ready(space[0].task)


def test_files_that_are_none_are_refused(tmp_path):
    path = tmp_path / "other"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"other: expected a file written by PAM\.save"):
        PAM(pretrained=path)
    save_file({"x": torch.zeros(1)}, str(path))
    with pytest.raises(ValueError, match=r"other: expected a file written by PAM\.save"):
        PAM(pretrained=path)
    with pytest.raises(FileNotFoundError, match=r"expected a file of weights.*missing"):
        PAM(pretrained=tmp_path / "missing")
    with pytest.raises(ValueError, match="expected a PAM that has learnt"):
        PAM().save(str(path))


def test_trials_of_sketches_with_one_key_are_all_remembered(space):
    """Such as those of a sketch with a decision fixed in two ways, one of which has none yet."""
    unroll = next(d for d in space[0].decisions if d.name == "unroll").domain
    one, other = (space[0].fix({"unroll": value}) for value in unroll[:2])
    assert one.key == other.key
    first, later = (
        one.sample(16, np.random.default_rng(0)),
        other.sample(8, np.random.default_rng(1)),
    )
    model = PAMModel(QUICK)
    model.learn(
        TASK, [Measured(one, first, seconds(one, first)), Measured(other, later[:0], np.empty(0))]
    )
    assert model.ready(TASK)
    assert len(model._programs.examples()) == 16
    both = [Measured(s, c, seconds(s, c)) for s, c in ((one, first), (other, later))]
    model.learn(TASK, both)
    examples = model._programs.examples()
    assert len(examples) == 24
    rows = ProgramFeatures.of(space[0])(np.concatenate([first, later])).statements
    np.testing.assert_array_equal(
        examples.statement_rows().numpy(), rows.reshape(-1, rows.shape[2])
    )
    model._pending.clear()
    model.learn(TASK, both)
    assert not model._pending
