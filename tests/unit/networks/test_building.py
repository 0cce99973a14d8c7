"""A network's functions are compiled side by side, and are the same network."""

import numpy as np
import pytest
import torch
import tvm
from tiny_networks import TARGET as PLAIN
from tvm import relax

import mschedx
from mschedx import compat
from mschedx.networks import building
from mschedx.networks.importing import import_network
from mschedx.networks.rewrites.pipeline import fuse, simplify


class Layers(torch.nn.Module):
    """As many different functions as asked for."""

    def __init__(self, count):
        super().__init__()
        widths = range(8, 8 + count + 1)
        self.layers = torch.nn.ModuleList(map(torch.nn.Linear, widths[:-1], widths[1:]))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return x


TARGET = tvm.target.Target(PLAIN)


def network(count):
    x = torch.rand(3, 8)
    model = Layers(count).eval()
    imported = import_network(model, (x,))
    fused = fuse(simplify(imported.mod), TARGET)
    return fused, x, model(x).detach().numpy()


def modules(executable):
    """How many modules of machine code a network has."""
    return sum(one.kind == "llvm" for one in _below(executable.mod))


def _below(module):
    found = [module]
    for one in module.imports:
        found += _below(one)
    return found


def run(loaded, x):
    output = relax.VirtualMachine(loaded, tvm.cpu())["main"](tvm.runtime.tensor(x.numpy()))
    return (output if isinstance(output, tvm.runtime.Tensor) else output[0]).numpy()


@pytest.mark.parametrize(("cores", "count", "expected"), [(2, 9, 3), (1, 9, 1), (2, 3, 1)])
def test_functions_are_dealt_to_modules(cores, count, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(compat, "available_cores", lambda: cores)
    fused, x, right = network(count)
    executable = building.executable(fused, TARGET)
    assert modules(executable) == expected
    found = run(executable, x)
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)
    executable.export_library(str(tmp_path / "network.so"))
    loaded = tvm.runtime.load_module(str(tmp_path / "network.so"))
    np.testing.assert_array_equal(run(loaded, x), found)


def test_nothing_is_linked_anew_before_it_runs(monkeypatch):
    monkeypatch.setattr(compat, "available_cores", lambda: 2)
    fused, _, _ = network(9)
    executable = building.executable(fused, TARGET)
    assert executable.jit() is executable.mod


def test_options_of_llvm_are_for_one_module_at_a_time(monkeypatch):
    monkeypatch.setattr(compat, "available_cores", lambda: 2)
    fused, x, right = network(9)
    executable = building.executable(fused, compat.bounded_scheduling(TARGET))
    assert modules(executable) == 1
    np.testing.assert_allclose(run(executable, x), right, rtol=1e-5, atol=1e-6)


def test_code_for_another_architecture_is_compiled_and_not_loaded(monkeypatch):
    monkeypatch.setattr(compat, "available_cores", lambda: 2)
    fused, _, _ = network(9)
    other = "aarch64" if compat.same_architecture(TARGET) else "x86_64"
    target = tvm.target.Target({"kind": "llvm", "mtriple": f"{other}-linux-gnu"})
    assert not compat.same_architecture(target)
    assert modules(building.executable(fused, target)) == 3


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_network_with_a_sort_compiles(dtype):
    """TVM's pass that moves layout changes out raises at a sort, which has none."""
    x = torch.linspace(-1, 1, 64).reshape(4, 16).sin().to(getattr(torch, dtype))
    model = Largest().eval().to(x.dtype)
    result = mschedx.tune_model(model, (x,), trials_per_task=0, progress=False)
    values, places = result.compile()(x)
    expected = model(x)
    assert torch.allclose(values.float(), expected[0].float(), atol=1e-2)
    assert torch.equal(places, expected[1])


class Largest(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(16, 16)

    def forward(self, x):
        return self.linear(x).topk(3, dim=1)


def test_a_relax_module_that_is_a_sort_compiles():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4, 16), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            found = builder.emit_output(relax.op.topk(x, k=2, axis=1))
        builder.emit_func_output(found)
    result = mschedx.tune_model(builder.get(), trials_per_task=0, progress=False)
    given = torch.linspace(-1, 1, 64).reshape(4, 16).sin()
    values, _ = result.compile()(given)
    assert torch.equal(values, given.topk(2, dim=1)[0])
