"""TLP and One-Shot Tuner: trained once, then frozen."""

from functools import cache

import numpy as np
import pytest
import torch
from spaces import LLVM, matmul
from tvm.s_tir import meta_schedule as ms

from mschedx.bench.pretrain import new_model
from mschedx.cost import TLP, Measured, OneShotTuner
from mschedx.cost.learned.examples import Batch
from mschedx.cost.learned.one_shot import OneShotNetwork
from mschedx.cost.learned.tlp import TLPNetwork
from mschedx.space import sketches

NAMES = ("tlp", "one-shot")
ADAPTERS = {"tlp": TLP, "one-shot": OneShotTuner}


@cache
def tasks():
    """Two tasks whose latencies are a simple function of the config."""
    found = []
    for size in ((64, 64, 64), (128, 64, 32)):
        sketch = sketches(matmul(*size), LLVM)[0]
        configs = sketch.sample(60, np.random.default_rng(0))
        seconds = 1e-5 * np.exp2(0.25 * np.log2(configs).sum(axis=1))
        seconds = seconds / np.exp2(0.5 * np.log2(configs[:, 2]))
        found.append((sketch.task, [Measured(sketch, configs, seconds)]))
    return found


def trained(name, epochs=12):
    model = new_model(name, epochs=epochs, published=False, seed=0)
    model.train(model.examples_of(tasks()), target_kind="llvm")
    return model


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return trained(request.param)


def test_published_sizes():
    def parameters(network):
        return sum(p.numel() for p in network.parameters())

    # Layers by hand: linear maps a·b + b, attention 4·d² + 4·d, two norms 4·d of an encoder layer.
    encoder = 22 * 64 + 64 + 64 * 128 + 128 + 128 * 256 + 256 + 256 * 256 + 256
    decoder = 256 * 128 + 128 + 128 * 64 + 64 + 64 + 1
    tlp = encoder + 4 * 256 * 256 + 4 * 256 + 2 * (256 * 256 + 256) + decoder
    assert parameters(TLPNetwork(masked=True)) == tlp
    layer = 4 * 748 * 748 + 4 * 748 + 2 * 748 * 1024 + 748 + 1024 + 4 * 748
    assert parameters(OneShotNetwork(scaled=True)) == 3 * layer + 748 + 1


def test_it_is_ready_once_trained_and_learns_nothing_while_tuning(model):
    (task, (measured,)) = tasks()[0]
    assert not new_model("tlp", epochs=1, published=False, seed=0).ready(task)
    assert model.ready(task)
    asked = [(measured.sketch, measured.configs)]
    before = model.score(task, asked)
    assert np.isfinite(before).all()
    model.learn(task, [Measured(measured.sketch, measured.configs, measured.latency_s[::-1])])
    np.testing.assert_array_equal(model.score(task, asked), before)


def test_it_ranks_what_it_was_trained_on():
    from mschedx.cost.learned.metrics import rank_correlation

    model = trained("tlp", epochs=40)
    for task, (measured,) in tasks():
        scores = model.score(task, [(measured.sketch, measured.configs)])
        assert rank_correlation(measured.latency_s, scores) > 0.5


def test_saved_and_loaded(model, tmp_path):
    name = "tlp" if model.name == "TLP" else "one-shot"
    path = str(tmp_path / "weights")
    model.save(path)
    adapter = ADAPTERS[name](path)
    task, (measured,) = tasks()[0]
    asked = [(measured.sketch, measured.configs)]
    np.testing.assert_allclose(adapter.model.score(task, asked), model.score(task, asked))
    assert isinstance(adapter, ms.CostModel)
    other = ADAPTERS["one-shot" if name == "tlp" else "tlp"]
    with pytest.raises(ValueError, match="expected model"):
        other(path)


def test_padding_counts_in_the_published_form_only():
    rows = torch.zeros(2, 25, 22)
    rows[0, :3, 0] = 1
    batch = Batch(rows, rows.any(dim=2), torch.zeros(2, 1, 0), torch.zeros(2, 1, dtype=torch.bool))
    torch.manual_seed(0)
    masked, published = TLPNetwork(masked=True), TLPNetwork(masked=False)
    assert masked(batch)[1] == 0
    assert published(batch)[1] != 0


def test_training_options_of_one_shot_tuner():
    model = new_model("one-shot", epochs=3, published=False, seed=0)
    assert (model.config.train.batch, model.config.train.learning_rate) == (4096, 1e-4)
    examples = model.examples_of(tasks())
    drawn = torch.cat(list(examples.balanced_batches(7, torch.Generator().manual_seed(0))))
    assert len(drawn) == len(examples)
    tenths = torch.bincount((examples.labels[drawn] * 10).long().clamp(max=9), minlength=10)
    present = torch.bincount((examples.labels * 10).long().clamp(max=9), minlength=10) > 0
    share = len(drawn) / int(present.sum())
    assert (tenths[present] > 0.4 * share).all()
    assert (tenths[~present] == 0).all()


def test_unknown_models_and_options_are_refused():
    with pytest.raises(ValueError, match="expected a model of pam, tlp, one-shot, felix, got 'x'"):
        new_model("x", epochs=None, published=False, seed=0)
    with pytest.raises(ValueError, match="expected felix without published"):
        new_model("felix", epochs=None, published=True, seed=0)
    with pytest.raises(ValueError, match=r"FelixConfig\.epochs >= 1, got 0"):
        new_model("felix", epochs=0, published=False, seed=0)


def test_tlp_compares_labels_of_all_tasks_as_published():
    assert new_model("tlp", epochs=2, published=False, seed=0).config.train.by_task
    assert not new_model("tlp", epochs=2, published=True, seed=0).config.train.by_task


@pytest.mark.parametrize("name", NAMES)
def test_training_hangs_on_its_seed_alone_and_leaves_pytorchs_own_chance_alone(name):
    """One-Shot Tuner's layers drop out, which draws from PyTorch's own generator."""
    weights = []
    for before in (1, 2):
        torch.manual_seed(before)
        state = torch.get_rng_state()
        weights.append(trained(name, epochs=2).network.state_dict())
        assert torch.equal(torch.get_rng_state(), state)
    first, second = weights
    assert all(torch.equal(first[key], second[key]) for key in first)
