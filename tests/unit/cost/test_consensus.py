"""PSA and a pretrained network together."""

import json

import numpy as np
import pytest
from dummy import gemm
from safetensors import safe_open

import mschedx
from mschedx.cost import Consensus, CostModel, KnowsSkill, Logarithmic
from mschedx.cost.adapter import as_weights
from mschedx.cost.consensus import ConsensusModel
from mschedx.cost.learned.features import ProgramFeatures
from mschedx.cost.learned.shipped import shipped, weights_path
from mschedx.cost.psa import ACCURACY, PSAModel
from mschedx.hardware import host_target
from mschedx.space import Task, sketches

TASK = Task("t")


@pytest.fixture(scope="module")
def asked():
    rng = np.random.default_rng(0)
    return [(sketch, sketch.sample(30, rng)) for sketch in sketches(gemm(), host_target())]


def test_models_for_cpus_come_with_the_package():
    paths = [weights_path(name) for name in shipped()]
    assert weights_path("cpu") in paths
    assert sum(path.stat().st_size for path in paths) <= 5 << 20
    assert all(path.with_suffix(".safetensors.json").exists() for path in paths)


@pytest.mark.parametrize("mcpu", ["znver4", "znver5", "skylake-avx512", "no-such-cpu"])
def test_each_processor_has_the_model_that_knows_it_or_that_of_a_zen_4(mcpu, monkeypatch):
    own = mcpu if f"cpu-{mcpu}" in shipped() else "znver4"
    assert weights_path("cpu", mcpu) == weights_path(f"cpu-{own}")
    assert ConsensusModel("cpu", mcpu=mcpu).network.processors == {own}
    monkeypatch.setattr("mschedx.cost.learned.shipped.system_cpu", lambda: mcpu)
    assert weights_path("cpu") == weights_path(f"cpu-{own}"), "this machine's where none is named"


@pytest.mark.parametrize("name", shipped())
def test_the_card_of_a_shipped_model_says_what_is_known_of_it(name):
    with safe_open(str(weights_path(name)), framework="np") as file:
        card = json.loads(file.metadata()["card"])
    beside = weights_path(name).with_suffix(".safetensors.json")
    assert json.loads(beside.read_text()) == card
    origin = card["trained_on"]
    assert sum(origin["spaces"].values()) == origin["tasks"]
    assert all({"cpu", "cores", "tvm"} <= set(machine) for machine in origin["machines"])
    assert card["metrics_from"], "what the metrics were measured on"


def test_it_is_ready_at_once_and_its_scores_are_finite(asked):
    model = ConsensusModel("cpu")
    assert isinstance(model, CostModel)
    assert model.ready(TASK)
    scores = model.score(TASK, asked)
    assert scores.shape == (sum(len(configs) for _, configs in asked),)
    assert np.isfinite(scores).all()


def test_a_large_weight_is_psas_order_and_none_the_networks(asked):
    psa = PSAModel().score(TASK, asked)
    heavy = ConsensusModel("cpu", weight=1e9).score(TASK, asked)
    np.testing.assert_allclose(psa[np.argsort(-heavy)], np.sort(psa)[::-1], rtol=1e-6)
    model = ConsensusModel("cpu", weight=0)
    alone = model.score(TASK, asked)
    logits = [model.network(ProgramFeatures.of(sketch)(configs)) for sketch, configs in asked]
    np.testing.assert_array_equal(alone, np.concatenate(logits))
    assert not np.array_equal(np.argsort(-alone), np.argsort(-psa))


@pytest.mark.parametrize("weight", [6.0, 12.0])
def test_where_the_network_has_no_opinion_tvm_draws_in_proportion_to_psas_speeds(asked, weight):
    psa = PSAModel().score(TASK, asked)
    model = ConsensusModel("cpu", weight=weight)
    assert isinstance(model, Logarithmic)
    model.network = lambda programs: np.zeros(len(programs))
    weights = as_weights(model.score(TASK, asked), model.logarithmic)
    np.testing.assert_allclose(weights, psa, rtol=1e-9)


def test_where_the_networks_logits_lie_does_not_matter(asked):
    model = ConsensusModel("cpu")
    before, network = model.score(TASK, asked), model.network
    model.network = lambda programs: network(programs) - 30
    np.testing.assert_allclose(model.score(TASK, asked), before - 30)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"name of a model.*\"cpu\""):
        Consensus(tmp_path / "none")
    with pytest.raises(ValueError, match="weight >= 0"):
        Consensus(weight=-1)


def test_rank_takes_it_by_name():
    alone = mschedx.rank(gemm(), limit=4)
    both = mschedx.rank(gemm(), limit=4, model="cpu")
    assert len(both) == len(alone) == 4
    assert all(one.latency_s > 0 for one in both)
    with pytest.raises(FileNotFoundError, match="expected a file of weights"):
        mschedx.rank(gemm(), limit=1, model="gpu")


def test_weights_of_another_kind_of_target_are_refused():
    with pytest.raises(ValueError, match=r"expected tasks for llvm, .* got one for cuda"):
        mschedx.rank(gemm(), "nvidia/nvidia-a100", limit=1, model="cpu")


@pytest.mark.parametrize(("mcpu", "accuracy"), [("znver4", 0.728), ("znver5", 0.777)])
def test_it_is_taken_to_rank_like_the_better_of_both(mcpu, accuracy):
    model = ConsensusModel("cpu", mcpu=mcpu)
    assert isinstance(model, KnowsSkill)
    assert model.network.accuracy == accuracy, "of the card"
    assert PSAModel().skill() == ACCURACY
    assert model.skill() == max(ACCURACY, accuracy)
    model.network.accuracy = 0.9
    assert model.skill() == 0.9
