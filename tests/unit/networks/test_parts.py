"""Networks tuned around operators that TVM does not know."""

import numpy as np
import pytest
import torch
from stand_ins import Runner
from tiny_networks import TARGET, quick, two

from mschedx.networks import NetworkResult, PartsResult, conclude, tune_parts
from mschedx.networks.checking import Check
from mschedx.networks.errors import DynamicShape, NetworkError, UnsupportedOperators
from mschedx.record.contents import read_contents


class Spectrum(torch.nn.Module):
    """A filter between two layers: complex numbers, which TVM has not."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(16, 16), torch.nn.Linear(16, 4)

    def forward(self, x, gain=1.0, *, bias=None):
        y = torch.relu(self.first(x))
        y = torch.fft.irfft(torch.fft.rfft(y) * 2) * gain
        y = y if bias is None else y + bias
        return {"out": self.second(y), "sum": y.sum(-1)}


class AllUnknown(torch.nn.Module):
    def forward(self, x):
        return torch.special.i0(x)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Spectrum().eval(), torch.randn(3, 16), torch.randn(16)


def untuned(**more):
    return {"trials_per_task": 0, "progress": False, "target": TARGET, **more}


@pytest.fixture(scope="module")
def tuned(network):
    model, x, bias = network
    return tune_parts(model, {"x": x, "gain": 2.0, "bias": bias}, **untuned())


def test_the_whole_computes_what_torch_does_and_is_called_as_it(network, tuned):
    assert isinstance(tuned, PartsResult)
    assert tuned.verified
    assert tuned.max_error <= tuned.tolerance
    assert tuned.operators == ("_fft_c2r.default", "_fft_r2c.default")
    assert list(tuned.results) == ["part_0", "part_2"]
    model, _, bias = network
    other, fast = torch.randn(3, 16), tuned.compile(cores=1)
    with torch.no_grad():
        expected = model(other, 2.0, bias=bias)
    outputs = fast(bias=bias, gain=2.0, x=other)
    assert list(outputs) == ["out", "sum"]
    torch.testing.assert_close(outputs, expected, atol=1e-4, rtol=1e-4)
    arrays = fast(x=other.numpy(), gain=2.0, bias=bias.numpy())
    np.testing.assert_array_equal(arrays["out"], outputs["out"].numpy())


def test_parts_share_a_work_dir_and_resume(network, tmp_path):
    model, x, _ = network
    options = quick(trials_per_task=2, work_dir=tmp_path)
    found = tune_parts(model, (x,), **options)
    assert found.measured == len(read_contents(tmp_path).records) > 0
    assert all(result.work_dir == tmp_path for result in found.results.values())
    assert tune_parts(model, (x,), **options).measured == 0
    assert "part_2" in repr(found)


def test_parts_that_come_after_the_time_are_not_measured(network):
    model, x, _ = network
    found = tune_parts(model, (x,), **quick(trials_per_task=2, timeout_s=1e-3))
    assert [result.measured > 0 for result in found.results.values()] == [True, False]
    assert any(note.startswith("time was up before part_2: nothing") for note in found.notes)


def test_a_part_that_was_not_reached_is_torchs(network, tmp_path):
    model, x, _ = network
    options = quick(Runner(interrupt_after=1), trials_per_task=4, work_dir=tmp_path)
    found = tune_parts(model, (x,), **options)
    assert found.interrupted
    assert list(found.results) == ["part_0"]
    assert any("left to torch" in note for note in found.notes)
    torch.testing.assert_close(found.compile()(x), model(x), atol=1e-4, rtol=1e-4)


def test_a_network_that_tvm_knows_is_tuned_as_one():
    model, inputs = two()
    found = tune_parts(model, inputs, **untuned())
    assert isinstance(found, NetworkResult)
    assert found.verified


def test_an_exported_program_is_cut_as_well(network):
    model, x, _ = network
    found = tune_parts(torch.export.export(model, (x,)), **untuned())
    assert found.verified
    torch.testing.assert_close(found.compile()(x), model(x), atol=1e-4, rtol=1e-4)


def test_sizes_that_are_dynamic_are_named_or_fixed(network):
    model, x, _ = network
    shapes = {"x": {0: torch.export.Dim.DYNAMIC}}
    program = torch.export.export(model, (x,), dynamic_shapes=shapes)
    with pytest.raises(DynamicShape, match=r"x\[0\]"):
        tune_parts(program, **untuned())
    found = tune_parts(program, (x,), fix_shapes=True, **untuned())
    torch.testing.assert_close(found.compile()(x), model(x), atol=1e-4, rtol=1e-4)


def test_an_output_that_is_not_torchs_is_said(network, monkeypatch):
    model, x, _ = network
    check = Check(True, True, 1.0, 0.1, "off")
    monkeypatch.setattr("mschedx.networks.parts.compared", lambda *_: check)
    found = tune_parts(model, (x,), **untuned())
    assert not found.verified
    assert found.wrong == "off"
    assert any("not torch's" in note for note in found.notes)
    with pytest.warns(UserWarning, match="the output of this network is wrong: off"):
        found.compile()


def test_nothing_is_compared_where_that_is_not_wanted(network):
    model, x, _ = network
    found = tune_parts(model, (x,), **untuned(verify=False))
    assert not found.verified
    assert np.isnan(found.max_error)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"x": torch.zeros(2, 16)}, ValueError, r"x: float32 \[3, 16\]; got \[2, 16\]"),
        ({"x": torch.zeros(3, 16, dtype=torch.float64)}, TypeError, "got float64"),
        ({"x": "text"}, TypeError, "got str"),
        ({"bias": None}, TypeError, r"bias: float32 \[16\]; got NoneType"),
        ({"more": torch.zeros(3)}, TypeError, "takes x"),
        ({"gain": 3.0}, ValueError, "was 2.0 when"),
    ],
)
def test_calls_that_it_is_not_tuned_for(network, tuned, change, error, said):
    _, x, bias = network
    with pytest.raises(error, match=said):
        tuned.compile()(**{"x": x, "gain": 2.0, "bias": bias, **change})


def test_networks_that_have_no_parts(network):
    model, x, _ = network
    with pytest.raises(TypeError, match=r"torch\.nn\.Module or an ExportedProgram.*got str"):
        tune_parts("net.onnx", (x,))
    with pytest.raises(UnsupportedOperators, match=r"i0\.default.* whole network by torch"):
        tune_parts(AllUnknown().eval(), (x,), **untuned())
    with pytest.raises(ValueError, match="timeout_s"):
        tune_parts(model, (x,), **untuned(timeout_s=-1))
    with pytest.raises(ValueError, match="example_inputs"):
        tune_parts(model, **untuned())


def test_seconds_are_shared_by_the_parts(network, tmp_path):
    model, x, _ = network
    options = quick(Runner(sleep_s=0.6), trials_per_task=64, timeout_s=4, work_dir=tmp_path)
    found = tune_parts(model, (x,), **options)
    assert all(result.timed_out for result in found.results.values())


class Narrow(Spectrum):
    """In half precision, around an operator of torch's in float32."""

    def forward(self, x):
        y = torch.relu(self.first(x))
        return self.second(torch.special.i0(y.float()).to(x.dtype))


def test_half_precision_is_compared_and_called_with_arrays():
    import ml_dtypes

    torch.manual_seed(0)
    model, x = Narrow().eval().bfloat16(), torch.randn(3, 16).bfloat16()
    found = tune_parts(model, (x,), **untuned())
    assert found.verified
    array = x.float().numpy().astype(ml_dtypes.bfloat16)
    output, expected = found.compile()(array), model(x).detach().float().numpy()
    assert output.dtype == ml_dtypes.bfloat16
    np.testing.assert_allclose(
        output.astype(np.float32), expected, rtol=0, atol=2**-7 * abs(expected).max()
    )


def test_outputs_that_are_no_tensors_come_back():
    class Some(torch.nn.Module):
        def forward(self, x):
            return None, torch.special.i0(x + 1), 3

    x = torch.randn(3, 16)
    found = tune_parts(Some().eval(), (x,), **untuned())
    assert found.verified
    nothing, output, three = found.compile()(x)
    assert (nothing, three) == (None, 3)
    torch.testing.assert_close(output, torch.special.i0(x + 1))


def test_a_part_whose_output_is_wrong_is_torchs(network, monkeypatch):
    model, x, _ = network
    real = conclude.check_output

    def check(reference, *rest):
        narrow = reference.outputs()[0].shape[-1] < 5
        return Check(True, True, 1.0, 0.1, "off") if narrow else real(reference, *rest)

    monkeypatch.setattr(conclude, "check_output", check)
    found = tune_parts(model, (x,), **untuned())
    assert found.verified  # as a whole
    assert found.latency_s == found.results["part_0"].latency_s
    assert "1 parts tuned" in repr(found)
    assert any("part_2 is left to torch" in note for note in found.notes)
    assert "in 1 part" in found.notes[0]
    outputs = found.compile()(x)
    with torch.no_grad():
        y = torch.fft.irfft(torch.fft.rfft(torch.relu(model.first(x))) * 2)
        torch.testing.assert_close(outputs["out"], model.second(y), atol=1e-4, rtol=1e-4)


class Angles(Spectrum):
    """Before the spectrum, an operator that TVM's importer has and TVM cannot compile."""

    def forward(self, x):
        y = torch.atan2(x.int(), x.int() + 1)
        return self.second(torch.fft.irfft(torch.fft.rfft(y)))


def test_a_part_that_does_not_compile_is_torchs():
    model, x = Angles().eval(), torch.linspace(-9, 9, 48).view(3, 16)
    found = tune_parts(model, (x,), **untuned())
    assert list(found.results) == ["part_2"]
    assert any("part_0 is left to torch: InternalError" in note for note in found.notes)
    assert found.verified
    torch.testing.assert_close(found.compile()(x), model(x), atol=1e-4, rtol=1e-4)


def test_why_no_part_is_tuned_is_said(network, monkeypatch):
    def broken(*_, **__):
        raise NetworkError("TVM cannot compile this network: why")

    monkeypatch.setattr("mschedx.networks.parts.tune_model", broken)
    model, x, _ = network
    with pytest.raises(UnsupportedOperators) as raised:
        tune_parts(model, (x,), **untuned())
    for part in ("part_0", "part_2"):
        said = f"{part} is left to torch: NetworkError: TVM cannot compile this network: why"
        assert said in str(raised.value)
    assert "tune_parts" not in str(raised.value)


class Random(torch.nn.Module):
    """Dropout that draws numbers in inference, too."""

    def __init__(self, times):
        super().__init__()
        self.first, self.second = torch.nn.Linear(16, 64), torch.nn.Linear(64, 4)
        self.times = times

    def forward(self, x):
        x = self.first(x).relu()
        for _ in range(self.times):
            x = torch.nn.functional.dropout(x, 0.5)
        return self.second(x)


@pytest.mark.parametrize("draw", [None, torch.rand_like, torch.bernoulli])
def test_a_network_that_draws_random_numbers_is_compared_for_one_draw(network, draw):
    _, x, _ = network

    class Drawing(Random):
        def forward(self, x):
            return self.second(draw(self.first(x).sigmoid()) * 2)

    model = Random(1) if draw is None else Drawing(1)
    state = torch.random.get_rng_state()
    found = tune_parts(model.eval(), (x,), **untuned())
    assert torch.equal(torch.random.get_rng_state(), state)  # the caller's numbers
    assert found.verified, found.wrong
    assert found.max_error < found.tolerance


def test_the_order_of_several_draws_is_not_kept(network):
    _, x, _ = network
    found = tune_parts(Random(2).eval(), (x,), **untuned())
    assert (found.verified, found.wrong) == (False, "")
    assert "could not be compared: its parts draw random numbers" in found.notes[-1]


@pytest.mark.filterwarnings("error::numpy.exceptions.ComplexWarning")
def test_complex_outputs_are_compared():
    class Transformed(Spectrum):
        def forward(self, x):
            return torch.fft.rfft(self.first(x))

    found = tune_parts(Transformed().eval(), (torch.randn(3, 16),), **untuned())
    assert found.verified
    assert found.max_error <= found.tolerance


class Weighted(Spectrum):
    """Weights that torch's part reads, and one that is an output."""

    def __init__(self):
        super().__init__()
        self.gains = torch.nn.Parameter(torch.linspace(1, 2, 9))
        self.register_buffer("kept", torch.ones(3))

    def forward(self, x):
        y = torch.fft.irfft(torch.fft.rfft(self.first(x)) * self.gains)
        return self.second(y), self.kept, x


def test_parts_keep_their_weights_and_say_that_they_have_changed():
    model, x = Weighted().eval(), torch.linspace(-1, 1, 48).view(3, 16)
    found = tune_parts(model, (x,), **untuned())
    with torch.no_grad():
        expected = [one.clone() for one in model(x)]
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.add_(1)
    with pytest.warns(UserWarning, match=r"6 weights have changed.*tune_parts again") as said:
        fast = found.compile()
    assert len(said) == 1
    for _ in range(2):
        outputs = fast(x.clone())
        for one, right in zip(outputs, expected, strict=True):
            torch.testing.assert_close(one, right, atol=1e-4, rtol=1e-4)
            one += 1  # changes neither x nor what the next call reads
    torch.testing.assert_close(fast(x)[1:], tuple(expected[1:]))


def test_parts_that_read_numbers_are_named():
    class Scaled(torch.nn.Module):
        """The sum is a number, which is read behind the second operator that TVM lacks."""

        def forward(self, x):
            y = torch.special.i0(x.relu())
            number = y.sum().item()
            return (torch.special.i0(y.tanh()) * number).tanh()

    model, x = Scaled().eval(), torch.rand(3, 4)
    found = tune_parts(model, (x,), **untuned())
    assert list(found.results) == ["part_0"]
    (note,) = [note for note in found.notes if "reads numbers" in note]
    assert note == "part_4 is left to torch: it reads numbers, which may be others at the next call"
    torch.testing.assert_close(found.compile()(2 * x), model(2 * x))


def test_outputs_of_parts_may_be_written_to():
    model, x = Weighted().eval(), torch.linspace(-1, 1, 48).view(3, 16)
    fast, given = tune_parts(model, (x,), **untuned()).compile(), x.clone()
    for output in fast(given):
        output += 1
    assert torch.equal(given, x)
    assert torch.equal(fast(x)[1], torch.ones(3))
