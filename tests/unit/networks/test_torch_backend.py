import inspect
import re
import threading
import time
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from captured_graphs import OPTIONS, same
from tiny_networks import WeightsAlone, two
from tvm.target import Target

from mschedx import compat
from mschedx.measure.failures import MachineTrouble
from mschedx.networks import checking, torch_backend
from mschedx.networks.checking import Check
from mschedx.networks.torch_backend import backend


@pytest.fixture(autouse=True)
def nothing_is_measured(invented):
    """In any of these tests."""


def test_exactness_is_passed_on(monkeypatch):
    asked = []

    def stop(model, inputs, **options):
        asked.append(options["exact"])
        raise ValueError("enough")

    monkeypatch.setattr(torch_backend, "tune_model", stop)
    model = torch.nn.Linear(8, 4).eval()
    with pytest.warns(UserWarning, match="enough"), torch.no_grad():
        torch.compile(model, backend=backend, options={"exact": True})(torch.rand(3, 8))
    assert asked == [True]


def test_an_interrupt_while_tuning_ends_the_call(monkeypatch):
    """What was not measured is unscheduled: no network to go on with."""
    result = SimpleNamespace(interrupted=True, work_dir="records")
    monkeypatch.setattr(torch_backend, "tune_model", lambda *_, **__: result)
    model = torch.nn.Linear(8, 4).eval()
    with pytest.raises(KeyboardInterrupt, match="records"), torch.no_grad():
        torch.compile(model, backend=backend)(torch.rand(3, 8))


def test_torch_finds_it_by_its_entry_point():
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    found = re.search(r'\[project.entry-points.torch_dynamo_backends\]\nmschedx = "(.*)"', text)
    assert EntryPoint("mschedx", found[1], "torch_dynamo_backends").load() is backend


def test_a_graph_break_makes_two_graphs(invented):
    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(8, 8), torch.nn.Linear(8, 4)

        def forward(self, x):
            x = self.first(x).relu()
            torch._dynamo.graph_break()
            return self.second(x)

    model = Broken().eval()
    same(torch.compile(model, backend=backend, options=OPTIONS), model, torch.rand(3, 8))
    assert len(invented) == 2


def test_a_graph_of_weights_alone_gives_tensors_of_torch(invented):
    model = WeightsAlone().eval()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    same(compiled, model)
    with torch.no_grad():
        compiled().zero_()
    same(compiled, model)
    assert invented == [[]]


def test_weights_elsewhere_than_the_target_are_torchs_where_nothing_is_given(invented):
    options = {**OPTIONS, "target": {"kind": "cuda", "arch": "sm_80"}}
    with pytest.warns(UserWarning, match=r"on cuda:0.* got a tensor on cpu"):
        same(torch.compile(WeightsAlone().eval(), backend=backend, options=options), WeightsAlone())
    assert invented == []


def test_what_cannot_be_tuned_is_left_to_torch(invented):
    def singular(x):
        return torch.linalg.svd(x)[1]

    compiled = torch.compile(singular, backend=backend, options=OPTIONS)
    with pytest.warns(UserWarning, match="left to torch: TVM cannot import .*_linalg_svd") as said:
        same(compiled, singular, torch.rand(3, 3))
    assert "torch.compile" not in str(said[0].message)  # it is what they use
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        same(compiled, singular, torch.rand(3, 3))  # said once
    assert len(invented) == 1


class Filtered(torch.nn.Module):
    """Two layers with a filter in the frequency domain between them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(8, 16), torch.nn.Linear(16, 4)

    def forward(self, x):
        spectrum = torch.fft.rfft(self.first(x).relu())
        return self.second(torch.fft.irfft(spectrum * spectrum.abs()))


def test_unknown_operators_are_left_to_torch_and_the_rest_is_tuned(invented):
    model = Filtered().eval()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    with pytest.warns(UserWarning, match="_fft_c2r.default, _fft_r2c.default are left to torch"):
        same(compiled, model, torch.rand(3, 8))
    assert invented[1:] == [[(3, 8)], [(3, 16)]]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        same(compiled, model, torch.rand(3, 8))
    assert len(invented) == 3


def test_a_part_that_cannot_be_tuned_is_torchs_too(monkeypatch):
    real = torch_backend.tune_model

    def tune(model, inputs, **options):
        if inputs[0].shape == (3, 16):
            raise ValueError("not this one")
        return real(model, inputs, **options)

    monkeypatch.setattr(torch_backend, "tune_model", tune)
    model = Filtered().eval()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    with pytest.warns(UserWarning, match=r"a part of \d operators .* not this one") as said:
        same(compiled, model, torch.rand(3, 8))
    assert "a part of 2 operators beginning with permute" in str(said[0].message)


@pytest.fixture
def wrong(monkeypatch):
    """A check that finds all outputs wrong that have fewer than five columns."""
    real = torch_backend.tune_model

    def compared(found, expected, relative, provenances=None):
        is_wrong = found[0].shape[-1] < 5
        return Check(True, is_wrong, 1.0, 0.1, "output 0: off by 1" if is_wrong else "")

    monkeypatch.setattr(checking, "compare_outputs", compared)
    monkeypatch.setattr(
        torch_backend, "tune_model", lambda *args, **more: real(*args, **{**more, "verify": True})
    )


@pytest.mark.usefixtures("wrong")
def test_an_artefact_whose_output_is_wrong_is_not_used():
    model, inputs = two()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    with torch.no_grad(), pytest.warns(UserWarning, match="left to torch: .*output 0: off by 1"):
        assert torch.equal(compiled(*inputs), model(*inputs))


@pytest.mark.usefixtures("wrong")
def test_a_part_whose_output_is_wrong_is_torchs():
    model = Filtered().eval()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    with pytest.warns(UserWarning, match="off by 1") as said:
        same(compiled, model, torch.rand(3, 8))
    texts = [str(one.message) for one in said]
    assert any(text.startswith("a part of") for text in texts)
    assert any("is tuned, in 1 part" in text for text in texts)


def test_a_part_that_reads_numbers_is_torchs_and_named():
    class Scaled(torch.nn.Module):
        def forward(self, x):
            y = torch.special.i0(x.relu())
            number = y.sum().item()
            return (torch.special.i0(y.tanh()) * number).tanh()

    model = Scaled().eval()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    with (
        torch._dynamo.config.patch(capture_scalar_outputs=True),
        pytest.warns(UserWarning, match="is tuned, in 1 part") as said,
    ):
        same(compiled, model, torch.rand(3, 4))
    texts = [str(one.message) for one in said]
    assert any(re.search("part of 2 operators .* torch: it reads numbers", one) for one in texts)


@pytest.mark.parametrize("step", ["cut", "to_tune", "assemble"])
def test_a_graph_that_cannot_be_cut_is_torchs(monkeypatch, step):
    def fail(*_):
        raise AssertionError("no such cut")

    monkeypatch.setattr(torch_backend, step, fail)
    model = Filtered().eval()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    with pytest.warns(UserWarning, match="left to torch: AssertionError: no such cut"):
        same(compiled, model, torch.rand(3, 8))


@pytest.mark.parametrize("step", ["tune_model", "cut"])
def test_trouble_with_the_machine_is_no_failure_of_the_call(monkeypatch, step):
    """It may pass, and torch can answer meanwhile."""

    def fail(*_, **__):
        raise MachineTrouble("no space left")

    monkeypatch.setattr(torch_backend, step, fail)
    model = Filtered().eval()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    with pytest.warns(UserWarning, match="left to torch for now: MachineTrouble: .*no space left"):
        same(compiled, model, torch.rand(3, 8))


def test_an_error_without_a_text_is_named(monkeypatch):
    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(torch_backend, "tune_model", fail)
    model, inputs = two()
    with pytest.warns(UserWarning, match=r"left to torch: AssertionError: AssertionError\(\)"):
        same(torch.compile(model, backend=backend), model, *inputs)


@pytest.mark.parametrize("gradients", [False, True])
def test_warnings_point_at_the_line_that_calls_the_network(monkeypatch, gradients):
    def fail(*_, **__):
        raise ValueError("not this one")

    monkeypatch.setattr(torch_backend, "tune_model", fail)
    model, x = torch.nn.Linear(8, 4).eval().requires_grad_(gradients), torch.rand(3, 8)
    compiled = torch.compile(model, backend=backend)
    line = inspect.currentframe().f_lineno + 2
    with pytest.warns(UserWarning, match="left to torch") as said:
        compiled(x)
    assert (said[0].filename, said[0].lineno) == (__file__, line)


@pytest.mark.parametrize(
    ("torchs", "options", "cores"), [(1, {}, 1), (64, {}, 4), (1, {"cores": 3}, 3)]
)
def test_kernels_use_as_many_cores_as_torchs(monkeypatch, torchs, options, cores):
    asked = []

    def tune(model, *_, **__):
        return SimpleNamespace(
            interrupted=False, wrong="", compile=lambda given=None: asked.append(given) or model
        )

    monkeypatch.setattr(torch_backend, "tune_model", tune)
    monkeypatch.setattr("mschedx.compat.available_cores", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: torchs)
    given = {**OPTIONS, **options}
    backend(torch.fx.symbolic_trace(torch.nn.ReLU()), [torch.rand(3, 8)], options=given)(
        torch.rand(3, 8)
    )
    assert asked == [cores]


def test_graphs_of_two_threads_take_turns_in_a_folder(monkeypatch, tmp_path):
    """One that finds the folder in use would be torch's for good."""
    active, most = [], []

    def tune(model, inputs, **options):
        active.append(options["work_dir"])
        most.append(len(active))
        time.sleep(0.2)
        active.pop()
        return SimpleNamespace(interrupted=False, wrong="", compile=lambda *_, **__: model)

    monkeypatch.setattr(torch_backend, "tune_model", tune)
    x, folders = torch.rand(3, 8), (tmp_path, tmp_path / "." / "deep" / "..")
    graphs = [
        backend(
            torch.fx.symbolic_trace(torch.nn.ReLU()),
            [x],
            options={**OPTIONS, "work_dir": str(folder)},
        )
        for folder in folders
    ]
    threads = [threading.Thread(target=graph, args=(x,)) for graph in graphs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1]


def test_dropout_of_a_module_in_training_draws_anew_with_every_call(invented):
    model = torch.nn.Sequential(torch.nn.Linear(8, 256), torch.nn.Dropout(), torch.nn.ReLU())
    compiled = torch.compile(model.train(), backend=backend, options=OPTIONS)
    x = torch.rand(3, 8)
    with torch.no_grad(), pytest.warns(UserWarning, match="native_dropout.* are left to torch"):
        first, second = compiled(x), compiled(x)
    assert not torch.equal(first, second)
    kept, hidden = first != 0, model[0](x).detach()
    torch.testing.assert_close(first[kept], 2 * hidden[kept], rtol=1e-5, atol=1e-5)
    assert 0.4 < kept[hidden > 0].float().mean() < 0.6
    assert len(invented) > 1  # the layer is tuned


def test_dropout_of_a_module_that_infers_is_left_out(invented):
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Dropout(), torch.nn.ReLU()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        same(torch.compile(model, backend=backend, options=OPTIONS), model, torch.rand(3, 8))
    assert len(invented) == 1


@pytest.mark.parametrize("arch", ["sm_80"])
def test_inputs_elsewhere_than_the_target_are_torchs(invented, arch):
    model, inputs = two()
    options = {**OPTIONS, "target": {"kind": "cuda", "arch": arch}}
    compiled = torch.compile(model, backend=backend, options=options)
    with pytest.warns(UserWarning, match=r"expected inputs on cuda:0.* got a tensor on cpu"):
        same(compiled, model, *inputs)
    assert not invented


@pytest.mark.skipif(compat.architecture_of(Target("llvm")) == "aarch64", reason="it runs here")
def test_a_graph_for_another_architecture_is_torchs(invented):
    model, inputs = two()
    arm = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "num-cores": 4}
    compiled = torch.compile(model, backend=backend, options={**OPTIONS, "target": arm})
    with pytest.warns(UserWarning, match="left to torch: NetworkError: the target is for"):
        same(compiled, model, *inputs)
    assert not invented


def test_gradients_are_torchs(invented):
    model, inputs = two()
    compiled = torch.compile(model, backend=backend, options=OPTIONS)
    with pytest.warns(UserWarning, match="torch.no_grad"):
        compiled(*inputs).sum().backward()
    found = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    model(*inputs).sum().backward()
    assert any(weight.grad.abs().max() > 0 for weight in model.parameters())
    torch.testing.assert_close(found, [weight.grad for weight in model.parameters()])
    assert invented == []
