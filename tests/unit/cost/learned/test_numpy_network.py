"""The network in NumPy computes what PyTorch does, and imports none of it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from dummy import gemm, softmax, target
from safetensors import safe_open
from safetensors.numpy import save_file

from mschedx.cost import Measured, PAMConfig, TrainConfig
from mschedx.cost.learned.examples import Batch
from mschedx.cost.learned.features import ProgramArrays, ProgramFeatures
from mschedx.cost.learned.numpy_network import NumpyNetwork, _sigmoid
from mschedx.cost.learned.pam import PAMModel
from mschedx.cost.learned.train import predict
from mschedx.space import Task, sketches


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    (sketch, *_) = sketches(gemm(), target())
    configs = sketch.sample(60, np.random.default_rng(0))
    model = PAMModel(PAMConfig(train=TrainConfig(epochs=5)))
    model.learn(Task("t"), [Measured(sketch, configs, 1e-5 + 1e-8 * configs.sum(axis=1))])
    path = tmp_path_factory.mktemp("weights") / "pam.safetensors"
    model.save(str(path))
    return model, path


@pytest.mark.parametrize("mod", [gemm(), softmax()], ids=["gemm", "softmax"])
@pytest.mark.parametrize("space", [None, "post-order-apply"], ids=["ours", "tvm"])
def test_logits_are_those_of_the_network_in_pytorch(trained, mod, space):
    model, path = trained
    network = NumpyNetwork.load(path)
    for sketch in sketches(mod, target(), space)[:3]:
        programs = ProgramFeatures.of(sketch)(sketch.sample(50, np.random.default_rng(1)))
        wanted = predict(model.network, Batch.of([programs]), model.config.train).double().numpy()
        np.testing.assert_allclose(network(programs), wanted, rtol=1e-4, atol=1e-4)


def test_programs_without_accesses_or_statements_have_a_score(trained):
    model, path = trained
    columns = model.network.network.form
    empty = ProgramArrays(
        np.zeros((3, 0, columns.statement_columns), np.float32),
        np.zeros((3, 0, columns.access_columns), np.float32),
    )
    wanted = predict(model.network, Batch.of([empty]), model.config.train).numpy()
    np.testing.assert_allclose(NumpyNetwork.load(path)(empty), wanted, rtol=1e-4, atol=1e-4)
    assert NumpyNetwork.load(path)(empty.take(np.arange(0))).shape == (0,)


def test_files_that_are_no_such_weights_are_refused(trained, tmp_path):
    odd = tmp_path / "odd.safetensors"
    odd.write_bytes(b"x")
    with pytest.raises(ValueError, match="expected weights that PAM"):
        NumpyNetwork.load(odd)
    published = PAMModel(PAMConfig(published=True))
    published.network = published.make(torch.Generator().manual_seed(0))
    published.save(str(odd))
    with pytest.raises(ValueError, match="expected a PAM of the improved form"):
        NumpyNetwork.load(odd)


def rewritten(path, to, *, without=(), **card):
    """The file with another card, or without some tensors."""
    with safe_open(str(path), framework="np") as file:
        about = {**json.loads(file.metadata()["card"]), **card}
        tensors = {name: file.get_tensor(name) for name in file.keys() if name not in without}  # noqa: SIM118
    save_file(tensors, str(to), metadata={"card": json.dumps(about)})
    return to


def test_what_pytorchs_reader_refuses_is_refused(trained, tmp_path):
    _, path = trained
    assert NumpyNetwork.load(rewritten(path, tmp_path / "same"))
    with pytest.raises(ValueError, match="got format 99"):
        NumpyNetwork.load(rewritten(path, tmp_path / "later", format=99))
    missing = rewritten(path, tmp_path / "less", without=("network.score.bias",))
    with pytest.raises(ValueError, match=r"less: .* 32 without network\.score\.bias"):
        NumpyNetwork.load(missing)
    with pytest.raises(ValueError, match=r"network\.score\.bias"):
        PAMModel().load(missing)


CARDS = [
    ([1], "got list"),
    (None, "got NoneType"),
    ({"metrics": None}, "expected metrics of its card as an object, got None"),
    ({"metrics": [0.7]}, "expected metrics of its card"),
    ({"metrics": {"pairwise accuracy": "good"}}, "pairwise accuracy from 0 to 1, got 'good'"),
    ({"metrics": {"pairwise accuracy": 7}}, "pairwise accuracy from 0 to 1, got 7"),
    ({"columns": None}, "expected columns of its card"),
    ({"columns": {"statements": 5}}, "expected the names of its statements, got 5"),
    ({"trained_on": 5}, "expected trained_on of its card"),
]


@pytest.mark.parametrize(("changes", "says"), CARDS)
def test_a_card_that_is_none_is_refused_with_and_without_pytorch(trained, tmp_path, changes, says):
    _, path = trained
    with safe_open(str(path), framework="np") as file:
        card = json.loads(file.metadata()["card"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    about = {**card, **changes} if isinstance(changes, dict) else changes
    odd = tmp_path / "odd"
    save_file(tensors, str(odd), metadata={"card": json.dumps(about)})
    for load in (NumpyNetwork.load, PAMModel().load):
        with pytest.raises(ValueError, match=f"odd: .*{says}"):
            load(odd)


def test_a_gate_that_is_shut_overflows_nothing(trained):
    with np.errstate(over="raise"):
        gates = _sigmoid(np.array([-1e4, -89, 0, 89, 1e4], np.float32))
    np.testing.assert_allclose(gates, [0, 0, 0.5, 1, 1], atol=1e-30)


def test_it_needs_no_pytorch():
    text = "import sys; sys.modules['torch'] = None; import mschedx.cost.learned.numpy_network"
    subprocess.run([sys.executable, "-c", text], check=True)
