"""Outputs may be written to: nothing else lies in their memory."""

import numpy as np
import pytest
import torch
import tvm
from tiny_networks import TARGET, two
from tvm import relax
from tvm.target import Target

from mschedx import tune_model
from mschedx.networks.rewrites.own_outputs import own_outputs


class Aliased(torch.nn.Module):
    """Outputs that are an input, a weight, a view of either, or another output."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.ones(4))
        self.linear, self.drop = torch.nn.Linear(4, 4), torch.nn.Dropout()

    def forward(self, x):
        y = self.linear(x)
        return {
            "input": x.clone(),
            "weight": self.kept.clone(),
            "dropped": self.drop(x),
            "made": (y, y, y.view(2, 2, 4)),
            "viewed": x.view(2, 8),
            "scalar": self.kept.sum(),
        }


def leaves(outputs):
    return torch.utils._pytree.tree_leaves(outputs)


@pytest.fixture(scope="module")
def aliased():
    model = Aliased().eval()
    x = torch.linspace(-1, 1, 16).view(4, 4)
    result = tune_model(model, x, TARGET, trials_per_task=0, progress=False)
    assert result.verified
    with torch.no_grad():
        return result, x, [one.clone() for one in leaves(model(x))]


@pytest.mark.parametrize("place", range(8))
def test_a_write_to_an_output_changes_nothing_else(aliased, place):
    result, x, expected = aliased
    network, given = result.compile(), x.clone()
    outputs = leaves(network(given))
    assert len(outputs) == len(expected) == 8
    outputs[place] += 1
    for number, (one, right) in enumerate(zip(outputs, expected, strict=True)):
        torch.testing.assert_close(one, right + (number == place))
    assert torch.equal(given, x)
    for one, right in zip(leaves(network(x)), expected, strict=True):
        torch.testing.assert_close(one, right)


def test_the_same_holds_for_an_exported_library(aliased, tmp_path):
    result, x, expected = aliased
    library = tvm.runtime.load_module(str(result.export(tmp_path / "aliased.so")))
    machine = relax.VirtualMachine(library, tvm.cpu())
    given = tvm.runtime.tensor(x.numpy())
    for output in machine["main"](given):
        output.copyfrom(output.numpy() + 1)
    np.testing.assert_array_equal(given.numpy(), x.numpy())
    for one, right in zip(machine["main"](given), expected, strict=True):
        np.testing.assert_allclose(one.numpy(), right.numpy(), atol=1e-6)


def test_networks_whose_outputs_are_their_own_stay_as_they_are():
    model, inputs = two()
    result = tune_model(model, inputs, TARGET, trials_per_task=0, progress=False)
    assert own_outputs(result.fused, Target(TARGET)).same_as(result.fused)


def test_outputs_whose_shape_depends_on_values_are_their_own():
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        y = builder.emit(relax.op.nn.relu(x))
        builder.emit_func_output(builder.emit(relax.op.nonzero(y)))
    result = tune_model(builder.get(), None, TARGET, trials_per_task=0, progress=False)
    array = np.array([[1, -1, 2], [-1, -1, 3]], np.float32)
    np.testing.assert_array_equal(result.compile()(array), np.stack(np.nonzero(array > 0)))


def nested():
    """A function that returns its input beside a tuple of what it computes, twice."""
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_te(lambda a: tvm.topi.add(a, 1.0), x)
            inner = builder.emit(relax.Tuple([y, x]))
            again = builder.emit(relax.TupleGetItem(inner, 0))
            output = builder.emit_output(relax.Tuple([x, inner, again]))
        builder.emit_func_output(output)
    return builder.get()


def test_tuples_within_tuples_keep_their_structure():
    owned = own_outputs(nested(), Target(TARGET))
    machine = relax.VirtualMachine(tvm.compile(owned, target="llvm"), tvm.cpu())
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    given = tvm.runtime.tensor(x)
    first, (second, third), fourth = machine["main"](given)
    found = [first, second, third, fourth]
    assert len({one.data_ptr() for one in (given, *found)}) == 5
    for one, right in zip(found, (x, x + 1, x, x + 1), strict=True):
        np.testing.assert_array_equal(one.numpy(), right)


def test_copies_for_a_gpu_are_bound_to_threads():
    owned = own_outputs(nested(), Target("nvidia/nvidia-h100"))
    copies = [f for name, f in owned.functions_items() if name.name_hint.startswith("copied")]
    assert len(copies) == 1  # all of one shape
    assert "threadIdx.x" in str(copies[0])
