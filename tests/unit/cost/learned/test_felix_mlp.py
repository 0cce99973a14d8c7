"""FelixMLP: what it learns, and that it does so repeatably; facts of felix.md section 9."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import tvm
from dummy import gemm, target

from mschedx.cost import Annealable, Differentiable, FelixConfig, FelixMLP, KnowsSkill, Measured
from mschedx.cost.adapter import as_weights
from mschedx.cost.base import PRETRAINED_ACCURACY
from mschedx.cost.learned import felix_mlp
from mschedx.cost.learned.felix_features import NAMES, FelixFeatures
from mschedx.cost.learned.felix_mlp import FelixMLPModel
from mschedx.cost.learned.felix_network import Ensemble, labels_of
from mschedx.cost.learned.metrics import pairwise_accuracy
from mschedx.cost.psa import PSAModel
from mschedx.search.blend import Blend
from mschedx.search.points import SketchSet
from mschedx.search.scoring import ArrayScorer
from mschedx.space import Task, sketches

SMALL = FelixConfig(members=2, width=32, steps=200, later_steps=60)


@cache
def opened(size=64):
    return tuple(sketches(gemm(size, size, size), target(), "post-order-apply")[:2])


def latency(sketch, configs):
    """Seconds that depend on what the features hold, smoothly."""
    rows = FelixFeatures.of(sketch)(configs)
    weights = np.random.default_rng(11).normal(size=len(NAMES)) / 40
    return 1e-4 * np.exp(np.tanh((rows @ weights).sum(axis=1)))


def trials(n, seed=0, size=64):
    rng = np.random.default_rng(seed)
    parts = []
    for sketch in opened(size):
        configs = sketch.sample(n, rng)
        parts.append(Measured(sketch, configs, latency(sketch, configs)))
    return parts


def taught(n=60, seed=0, config=SMALL):
    model = FelixMLPModel(config, seed)
    parts = trials(n)
    model.learn(opened()[0].task, parts)
    return model


def asked(n=80, seed=9):
    rng = np.random.default_rng(seed)
    return [(sketch, sketch.sample(n, rng)) for sketch in opened()]


def test_it_ranks_what_it_has_not_seen():
    model, questions = taught(), asked()
    task = opened()[0].task
    scores = model.score(task, questions)
    real = np.concatenate([latency(*question) for question in questions])
    assert pairwise_accuracy(real, scores) > 0.8


def test_fact_14_predictions_are_logarithms_of_latencies():
    """``ln(1 / latency)`` and back, and about right after training."""
    seconds = np.array([1e-6, 3.7e-4, 2.0])
    labels = labels_of(seconds, 2.0, 1.0).double().numpy()
    assert np.allclose(np.exp(-labels), seconds, rtol=1e-5)
    model, questions = taught(), asked()
    predicted = model.latency_s(opened()[0].task, questions)
    real = np.concatenate([latency(*question) for question in questions])
    assert np.median(np.abs(np.log(predicted / real))) < 0.35


def test_tvm_draws_in_proportion_to_the_speeds_that_it_predicts():
    model, questions = taught(config=replace(SMALL, pessimism=0.0)), asked(8)
    task = opened()[0].task
    weights = as_weights(model.score(task, questions), model.logarithmic)
    np.testing.assert_allclose(weights * model.latency_s(task, questions), 1, rtol=1e-9)


def test_fact_14_tasks_that_were_held_out_are_ranked_too():
    """That it generalises at all, on made-up latencies; beside XGB: `benchmarks/felix.py rank`."""
    model = FelixMLPModel(SMALL)
    tasks = [(opened(size)[0].task, trials(60, size=size)) for size in (32, 128)]
    model.pretrain(tasks, steps=300)
    held_out = opened()[0].task
    assert model.ready(held_out)
    questions = asked()
    real = np.concatenate([latency(*question) for question in questions])
    assert pairwise_accuracy(real, model.score(held_out, questions)) > 0.65


def test_fact_15_the_same_seed_learns_the_same():
    task, questions = opened()[0].task, asked()
    first, second, other = (taught(seed=seed).score(task, questions) for seed in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_relaxed_scores_are_exact_ones_at_configs_and_have_slopes():
    model, task = taught(), opened()[0].task
    assert isinstance(model, Differentiable)
    assert isinstance(model, Annealable)
    for sketch, configs in asked(20):
        x = torch.tensor(configs, dtype=torch.float64, requires_grad=True)
        scores = model.relaxed_score(task, sketch, x)
        assert np.allclose(scores.detach(), model.score(task, [(sketch, configs)]), atol=1e-4)
        (slope,) = torch.autograd.grad(scores.sum(), x)
        assert torch.isfinite(slope).all()
        assert (slope != 0).any(dim=1).all()
        off = x.detach() * 1.17
        wide, narrow = (model.annealed_score(task, sketch, off, w) for w in (1.0, 0.05))
        assert torch.isfinite(wide).all()
        assert torch.isfinite(narrow).all()


def test_scores_are_the_mean_less_the_deviation_of_the_networks():
    network = Ensemble(4, len(NAMES), 16, torch.Generator().manual_seed(0))
    rows = torch.rand(5, 3, len(NAMES))
    every = network(rows, torch.ones(5, 3))
    assert every.shape == (4, 5)
    expected = every.mean(dim=0) - 2 * every.std(dim=0, correction=0)
    assert torch.allclose(network.score(rows, torch.ones(5, 3), 2.0), expected, atol=1e-5)
    assert torch.allclose(network.score(rows, torch.ones(5, 3), 0.0), every.mean(dim=0))


def test_networks_disagree_more_where_there_is_no_data():
    model, sketch = taught(), opened()[0]
    model.score(sketch.task, asked(1))
    inside = torch.from_numpy(FelixFeatures.of(sketch)(trials(60)[0].configs)).float()
    outside = inside + 6.0
    with torch.no_grad():
        near, far = (
            model.network(rows, torch.ones(rows.shape[:2])).std(dim=0).median()
            for rows in (inside, outside)
        )
    assert far > 2 * near


def test_padding_changes_nothing():
    network = Ensemble(2, len(NAMES), 16, torch.Generator().manual_seed(0))
    rows = torch.rand(4, 3, len(NAMES))
    padded = torch.cat([rows, torch.zeros(4, 2, len(NAMES))], dim=1)
    real = torch.tensor([1.0, 1, 1, 0, 0]).expand(4, 5)
    assert torch.allclose(network(rows, torch.ones(4, 3)), network(padded, real), atol=1e-5)


def test_failed_trials_are_the_slowest_and_a_task_that_never_succeeded_teaches_nothing():
    labels = labels_of(np.array([1e-3, np.inf, 2e-3]), 2e-3, 1.0)
    assert labels[1] == pytest.approx(float(labels[2]) - 1.0)
    model, sketch = FelixMLPModel(SMALL), opened()[0]
    configs = sketch.sample(8, np.random.default_rng(0))
    model.learn(sketch.task, [Measured(sketch, configs, np.full(8, np.inf))])
    assert not model.ready(sketch.task)
    with pytest.raises(ValueError, match="measure something first, or load weights"):
        model.score(sketch.task, [(sketch, configs)])
    with pytest.raises(ValueError, match="there are no weights to write"):
        model.save("nowhere")
    with pytest.raises(ValueError, match="1 tasks of which none has any"):
        model.pretrain([(sketch.task, [Measured(sketch, configs, np.full(8, np.inf))])])


def test_weights_are_saved_and_loaded_and_then_tuned_finely(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads"):
        monkeypatch.setattr(f"pickle.{name}", refuse)
    task, questions = opened()[0].task, asked()
    model, path = taught(), str(tmp_path / "felix.safetensors")
    scores = model.score(task, questions)
    model.save(path)
    again = FelixMLP(pretrained=path).model
    assert again.ready(task)
    again.config = SMALL
    assert np.array_equal(again.score(task, questions), scores)
    before = [w.detach().clone() for w in again.network.parameters()]
    again.learn(task, trials(20, seed=3))
    again.score(task, questions)
    moved = max(
        float((a - b.detach()).abs().max()) for a, b in zip(before, again.network.parameters())
    )
    # Adam moves a weight by its rate a step, at most.
    assert 0 < moved < 1.5 * SMALL.fine_tuning_rate * SMALL.later_steps


def test_files_that_are_not_felix_weights_are_refused(tmp_path):
    path = tmp_path / "other"
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="expected a file written by FelixMLP"):
        FelixMLP(pretrained=path)
    with pytest.raises(FileNotFoundError):
        FelixMLP(pretrained=tmp_path / "missing")


@pytest.mark.parametrize(
    "wrong", [{"members": 0}, {"clip": 0.0}, {"pessimism": -1.0}, {"learning_rate": 0.0}]
)
def test_parameters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="expected FelixConfig"):
        FelixConfig(**wrong)


def test_programs_of_other_tasks_make_room():
    config = FelixConfig(members=1, width=8, steps=2, later_steps=2, replay=50)
    model = FelixMLPModel(config)
    for size in (32, 64):
        model.learn(opened(size)[0].task, trials(20, size=size))
    kept = model._thinned(opened(64)[0].task.key)
    own = sum(len(p.labels) for p in kept if p.task == opened(64)[0].task.key)
    assert own == 40
    assert sum(len(p.labels) for p in kept) == 50


def test_weights_serve_one_kind_of_target(tmp_path):
    sketch, path = opened()[0], str(tmp_path / "felix.safetensors")
    cuda = Task("g", "gpu task", tvm.target.Target("nvidia/nvidia-a100"))
    model = FelixMLPModel(SMALL)
    model.pretrain([(sketch.task, trials(8))], steps=2)
    assert model.card.target_kind == "llvm"
    model.save(path)
    for again in (FelixMLP(pretrained=path).model, taught(8)):
        with pytest.raises(ValueError, match=r"expected tasks for llvm, .* got gpu task for cuda"):
            again.ready(cuda)
        with pytest.raises(ValueError, match=r"expected tasks for llvm, .* got gpu task for cuda"):
            again.learn(cuda, trials(8))
        assert again.ready(sketch.task)
    with pytest.raises(ValueError, match=r"expected tasks for llvm, .* got gpu task for cuda"):
        model.pretrain([(sketch.task, trials(8)), (cuda, trials(8))], steps=2)


@pytest.mark.parametrize(("epochs", "passes"), [(None, 30), (40, 40)])
def test_it_passes_over_a_data_set_as_often_as_asked_however_large_it_is(
    monkeypatch, epochs, passes
):
    """A step takes 32 programs. Of few programs, no fewer steps than of one task's first trials."""
    taken = []
    monkeypatch.setattr(felix_mlp, "fit", lambda *_, steps, **__: float(taken.append(steps) or 0))
    config = FelixConfig(members=1, width=8)
    for n in (8, 400):
        model = FelixMLPModel(config)
        model.pretrain([(opened()[0].task, trials(n))], epochs=epochs)
    assert taken == [config.steps, passes * 2 * 400 // config.batch]
    with pytest.raises(ValueError, match="expected epochs >= 1, got 0"):
        FelixMLPModel(config).pretrain([(opened()[0].task, trials(8))], epochs=0)


def test_training_that_is_cut_short_leaves_the_model_as_it_was(monkeypatch):
    task, questions = opened()[0].task, asked()
    model = FelixMLPModel(SMALL)
    model.pretrain([(task, trials(8))], steps=2)
    scores, card = model.score(task, questions), model.card
    with monkeypatch.context() as patched:
        patched.setattr(felix_mlp, "fit", spoilt)
        with pytest.raises(KeyboardInterrupt):
            model.pretrain([(task, trials(20))])
        assert model.card == card
        assert np.array_equal(model.score(task, questions), scores)
        model.learn(task, trials(20))
        for _ in range(2):  # what was measured is still to be learnt
            with pytest.raises(KeyboardInterrupt):
                model.score(task, questions)
        new = FelixMLPModel(SMALL)
        with pytest.raises(KeyboardInterrupt):
            new.pretrain([(task, trials(20))])
        assert not new.ready(task)
        assert new.network is None
    after = model.score(task, questions)
    assert np.isfinite(after).all()
    assert not np.array_equal(after, scores)


def spoilt(network, *_, **__):
    """Training that Ctrl-C ends half-way."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(torch.nan)
    raise KeyboardInterrupt


def test_its_card_says_what_it_has_learnt_from_while_tuning():
    model = taught(8)
    assert model.card.trained_on == {}
    model.score(opened()[0].task, asked(4))
    assert model.card.trained_on == {"online": {"tasks": 1, "programs": 16}}


def test_pretrained_networks_know_their_skill_and_new_ones_have_none(tmp_path):
    task, path = opened()[0].task, str(tmp_path / "felix")
    model = FelixMLPModel(SMALL)
    assert isinstance(model, KnowsSkill)
    assert model.skill() is None
    model.learn(task, trials(8))
    assert model.skill() is None, "nothing is known of other tasks"
    model.pretrain([(task, trials(8))], steps=2)
    assert model.skill() == PRETRAINED_ACCURACY, "no task was held out"
    model.card = replace(model.card, metrics={"pairwise accuracy": 0.8})
    model.save(path)
    assert FelixMLP(pretrained=path).model.skill() == 0.8


def test_a_pretrained_one_has_a_say_before_anything_is_measured():
    model, space = FelixMLPModel(SMALL), SketchSet(list(opened()))
    model.pretrain([(opened(128)[0].task, trials(8, size=128))], steps=2)
    draft, learned = ArrayScorer(PSAModel(), space), ArrayScorer(model, space)
    assert learned.ready
    assert 0.1 < Blend().scorer(draft, learned).share < 0.5
