"""A compiled network as a function: kinds of tensors, threads, files, profile, bad arguments."""

import copy
import os
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
import tvm
from tiny_networks import TARGET, WeightsAlone, quick, two

from mschedx import compat, tune_buckets, tune_model
from mschedx.networks import NetworkError, conclude
from mschedx.networks.checking import Check

LOADS = """
import sys
sys.modules["torch"] = None  # which TVM imports if it can
import numpy as np, tvm
from tvm import relax
machine = relax.VirtualMachine(tvm.runtime.load_module(sys.argv[1]), tvm.cpu())
output = machine["main"](tvm.runtime.tensor(np.load(sys.argv[2])))
np.save(sys.argv[3], (output if isinstance(output, tvm.runtime.Tensor) else output[0]).numpy())
assert not any(name.partition(".")[0] == "mschedx" for name in sys.modules)
"""


@pytest.fixture(scope="module")
def tuned():
    model, inputs = two()
    result = tune_model(model, inputs, trials_per_task=1, **quick())
    with torch.no_grad():
        return model, inputs[0], result, model(*inputs)


def test_a_copy_is_the_network_itself_and_none_is_pickled(tuned):
    network = tuned[2].compile()
    assert copy.deepcopy({"serve": network})["serve"] is network
    with pytest.raises(TypeError, match=r"a CompiledNetwork cannot be pickled.*export a library"):
        pickle.dumps(network)


@pytest.mark.parametrize("kind", ["torch", "numpy", "tvm"])
def test_outputs_are_of_the_kind_of_the_inputs(tuned, kind):
    _, x, result, expected = tuned
    given = {"torch": x, "numpy": x.numpy(), "tvm": tvm.runtime.tensor(x.numpy())}[kind]
    output = result.compile()(given)
    assert isinstance(output, type(given))
    found = output.numpy() if kind != "numpy" else output
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_cores_are_a_whole_number_when_it_is_compiled(tuned):
    _, x, result, expected = tuned
    for cores in (0, True, 1.0, "1"):
        with pytest.raises(ValueError, match="expected cores >= 1"):
            result.compile(cores=cores)
    torch.testing.assert_close(result.compile(cores=np.int64(1))(x), expected)


class Image(torch.Tensor):
    """A class of tensors as torchvision's and MONAI's are, of another module than torch."""


def test_outputs_for_tensors_of_a_class_of_their_own_are_torchs(tuned):
    _, x, result, expected = tuned
    for given in (x, x.t().contiguous().t(), x.clone().requires_grad_()):
        output = result.compile()(given.as_subclass(Image))
        assert type(output) is torch.Tensor
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)


def test_outputs_of_a_network_of_torch_without_inputs_are_torchs():
    model = WeightsAlone().eval()
    network = tune_model(model, (), trials_per_task=0, progress=False, target=TARGET).compile()
    first = network()
    torch.testing.assert_close(first, model())
    first.zero_()
    torch.testing.assert_close(network(), model())


def test_outputs_of_two_calls_are_apart(tuned):
    _, x, result, expected = tuned
    network = result.compile()
    first, second = network(x), network(x + 1)
    np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(first, second)


def test_inputs_that_do_not_lie_right_are_copied(tuned):
    _, x, result, expected = tuned
    room = torch.zeros(3 * 8 + 1)
    shifted = room[1:].view(3, 8)
    shifted.copy_(x)
    turned = x.t().contiguous().t()
    for given in (shifted, turned):
        np.testing.assert_allclose(result.compile()(given), expected, rtol=1e-5, atol=1e-6)


def lying_right(kind, x):
    """The same values as contiguous memory on a boundary of 64 bytes, and its address."""
    if kind == "numpy":
        room = np.empty(x.nbytes + 64, "uint8")
        array = room[-room.ctypes.data % 64 :][: x.nbytes].view("float32").reshape(x.shape)
        array[...] = x
        return array, array.ctypes.data
    tensor = {
        "torch": x.clone,
        "gradients": lambda: x.clone().requires_grad_(),
        "class": lambda: x.clone().as_subclass(Image),
        "tvm": lambda: tvm.runtime.tensor(x.numpy()),
    }[kind]()
    return tensor, tensor.data_ptr()


class Watched:
    """A network that notes where the tensors of its kernels lie."""

    def __init__(self, network):
        self.network, self.inputs, self.outputs = network, [], []
        self._run, network._run = network._run, self.run

    def run(self, tensors):
        outputs = self._run(tensors)
        self.inputs += [one.data_ptr() for one in tensors]
        self.outputs += [one.data_ptr() for one in outputs]
        return outputs


@pytest.mark.parametrize("kind", ["torch", "gradients", "class", "numpy", "tvm"])
def test_what_lies_right_is_not_copied(tuned, kind):
    _, x, result, expected = tuned
    watched = Watched(result.compile())
    given, address = lying_right(kind, x)
    assert address % 64 == 0
    output = watched.network(given)
    assert watched.inputs == [address]
    if kind != "numpy":  # which owns its memory
        assert [output.data_ptr()] == watched.outputs
    found = output if kind == "numpy" else output.numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    turned = x.t().contiguous().t()
    watched.network(turned)
    assert watched.inputs[1] != turned.data_ptr(), "of what lies otherwise it is a copy"


def test_any_thread_may_call_it(tuned):
    model, _, result, _ = tuned
    network = result.compile()
    wrong = []

    def work(seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(20):
            x = torch.randn(3, 8, generator=generator)
            with torch.no_grad():
                if not torch.allclose(network(x), model(x), atol=1e-5):
                    wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(compat.available_cores() < 2, reason="needs a pool of threads")
def test_a_thread_with_a_small_pool_is_served_by_another(tuned):
    _, x, result, expected = tuned
    found = compat.on_cores(1, result.compile(2), x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


FORKS = """
import os, signal
import numpy as np, torch
from tiny_networks import TARGET, two
from mschedx import tune_model

model, inputs = two(width=512)
network = tune_model(model, inputs, trials_per_task=0, progress=False, target=TARGET).compile(2)
expected = network(*inputs).numpy()
child = os.fork()
if not child:
    signal.alarm(30)
    same = all(np.array_equal(network(*inputs).numpy(), expected) for _ in range(3))
    os._exit(0 if same else 1)
_, status = os.waitpid(child, 0)
assert status == 0, status
np.testing.assert_array_equal(network(*inputs).numpy(), expected)
"""


@pytest.mark.skipif(compat.available_cores() < 2, reason="needs a pool of threads")
def test_a_process_that_is_forked_after_a_call_may_call_it_too():
    done = subprocess.run(
        [sys.executable, "-c", FORKS],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("args", "error", "says"),
    [
        ((torch.rand(4, 8),), ValueError, r"expects x: float32 \[3, 8\]; got shape \[4, 8\]"),
        ((torch.rand(3, 8).double(),), TypeError, "float64"),
        ((torch.rand(3, 8), torch.rand(3, 8)), TypeError, "the network takes x"),
        ((), TypeError, "the network takes x"),
        ((torch.rand(3, 8, device="meta"),), ValueError, "cannot be shared|on meta"),
        (([1.0],), TypeError, "the network takes x|no array"),
    ],
)
def test_other_arguments_than_it_was_tuned_for(tuned, args, error, says):
    with pytest.raises(error, match=says):
        tuned[2].compile()(*args)


def test_an_exported_file_needs_tvm_alone(tuned, tmp_path):
    _, x, result, expected = tuned
    path = result.export(tmp_path / "deep" / "network.so")
    np.save(tmp_path / "x.npy", x.numpy())
    names = [str(path), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    subprocess.run([sys.executable, "-c", LOADS, *names], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="shared library"):
        result.export(tmp_path / "network.txt")


def test_changed_weights_are_said(tmp_path):
    model, inputs = two(seed=3)
    result = tune_model(
        model, inputs, trials_per_task=1, work_dir=tmp_path, **{**quick(), "target": TARGET}
    )
    with torch.no_grad():
        before = model(*inputs)
        model.first.weight.mul_(2)
    says = r"1 weights have changed.*first\.weight.*tune_model again"
    with pytest.warns(UserWarning, match=says) as said:
        network = result.compile()
    with pytest.warns(UserWarning, match=says) as of_file:
        result.export(tmp_path / "network.so")
    with pytest.warns(UserWarning, match=says) as of_profile:
        result.profile(runs=1)
    assert {one.filename for one in (*said, *of_file, *of_profile)} == {__file__}
    np.testing.assert_allclose(network(*inputs), before, rtol=1e-5, atol=1e-6)


class Attending(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)


def test_an_output_that_is_none_comes_back(tmp_path):
    torch.manual_seed(0)
    model, x = Attending().eval(), torch.randn(1, 3, 8)
    result = tune_model(model, x, trials_per_task=0, progress=False, target=TARGET)
    assert result.verified
    with torch.no_grad():
        expected, _ = model(x)
    for given in (x, x.numpy()):
        output, weights = result.compile()(given)
        assert weights is None
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    path = result.export(tmp_path / "net.so")
    machine = tvm.relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    (output,) = machine["main"](tvm.runtime.tensor(x.numpy()))
    np.testing.assert_allclose(output.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def wrong(monkeypatch):
    """Each check finds the output of a network wrong."""
    check = Check(True, True, 1.0, 0.1, "output 0: 3 of 4 values differ")
    monkeypatch.setattr(conclude, "check_output", lambda *_: check)


@pytest.mark.usefixtures("wrong")
def test_a_network_whose_output_is_wrong_is_not_exported_and_compiled_with_a_warning(tmp_path):
    model, inputs = two()
    result = tune_model(model, inputs, trials_per_task=0, progress=False, target=TARGET)
    with pytest.warns(UserWarning, match=r"is wrong: .*3 of 4 values differ") as said:
        network = result.compile()
    assert said[0].filename == __file__
    assert network(*inputs).shape == (3, 4)
    library = tmp_path / "network.so"
    with pytest.raises(NetworkError, match=r"3 of 4 values differ.*exact=True"):
        result.export(library)
    assert not library.exists()
    result.executable.export_library(str(library))
    assert library.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert result.profile(runs=1).operators


@pytest.mark.usefixtures("wrong")
def test_sizes_whose_output_is_wrong_are_not_exported_nor_padded(tmp_path):
    model, inputs = two()
    found = tune_buckets(
        model, inputs, {"x[0]": (1, 3)}, trials_per_task=0, progress=False, target=TARGET
    )
    assert found.pads == {"x[0]": False}
    assert "x0=3 is wrong by itself: output 0" in found.notes[0]
    with pytest.warns(UserWarning, match=r"x0=1: output 0.*; x0=3: output 0") as said:
        network = found.compile()
    assert [one.filename for one in said] == [__file__]
    assert network(*inputs).shape == (3, 4)
    with pytest.raises(NetworkError, match="x0=1: output 0"):
        found.export(tmp_path / "libraries")
    assert not (tmp_path / "libraries").exists()
