"""Graphs cut around operators that TVM does not know."""

import pytest
import torch

from mschedx.networks.importing import read_network
from mschedx.networks.torch_parts import Frozen, assemble, cut, to_tune


def operators(module):
    """What a part calls, by its bare names."""
    calls = [node for node in module.graph.nodes if node.op == "call_function"]
    return [call.target.__name__.partition(".")[0] for call in calls]


class Between(torch.nn.Module):
    """An unknown operator beside known ones and between them."""

    def forward(self, x):
        y = torch.relu(x)
        return torch.special.i0(y) * y + torch.tanh(x)


class Decomposed(torch.nn.Module):
    def forward(self, x):
        u, s, v = torch.linalg.svd(x, full_matrices=False)
        return (u * s) @ v


class Spectrum(torch.nn.Module):
    def forward(self, x):
        return torch.fft.irfft(torch.fft.rfft(x) * 2) + 1


def test_cutting_draws_none_of_the_callers_random_numbers():
    class Dropped(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.dropout(x, 0.5) + 1

    x, state = torch.rand(3, 4), torch.random.get_rng_state()
    parts = cut(Dropped().eval(), [x], {"native_dropout.default"})
    assert to_tune(parts, [x])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_graph_is_named_by_its_first_operator():
    graph = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Tanh()))
    x = torch.rand(3, 4)
    network = read_network(Frozen(graph, [False], [x]).eval(), (x,))
    assert network.name == "graph from _0"


def test_no_part_has_an_operator_before_what_it_reads():
    parts = cut(Between().eval(), [torch.rand(3, 4)], {"i0.default"})
    whole = parts.whole
    assert [operators(whole.get_submodule(name)) for name in parts.for_torch] == [["i0"]]
    before, after = (operators(whole.get_submodule(name)) for name in parts.for_tvm)
    assert sorted(before) == ["relu", "tanh"]
    assert after == ["mul", "add"]


def test_tuples_stay_in_the_part_that_makes_them():
    parts = cut(Decomposed().eval(), [torch.rand(3, 4)], {"_linalg_svd.default"})
    (svd,) = (parts.whole.get_submodule(name) for name in parts.for_torch)
    assert operators(svd) == ["_linalg_svd", "getitem", "getitem", "getitem"]


def test_complex_numbers_are_torchs():
    unknown = {"_fft_r2c.default", "_fft_c2r.default"}
    parts = cut(Spectrum().eval(), [torch.rand(3, 4)], unknown)
    (spectrum,) = (operators(parts.whole.get_submodule(name)) for name in parts.for_torch)
    assert "mul" in spectrum
    assert [operators(parts.whole.get_submodule(name)) for name in parts.for_tvm] == [["add"]]


def test_parts_are_replaced_with_what_is_made_for_their_arguments():
    x = torch.rand(3, 4) - 0.5
    parts = cut(Between().eval(), [x], {"i0.default"})
    torch.testing.assert_close(parts.whole(x), (Between()(x),))
    found = to_tune(parts, [x])
    assert [len(given) for _, given in found.values()] == [1, 3]
    calls = []

    def first(*args):
        calls.append([tuple(arg.shape) for arg in args])
        return found["part_0"][0](*args)

    whole = assemble(parts, {"part_0": first})
    torch.testing.assert_close(whole(x), (Between()(x),))
    assert calls == [[(3, 4)]]
    torch.testing.assert_close(parts.whole(x), (Between()(x),))
    assert len(calls) == 1


def test_what_is_made_of_weights_goes_with_its_reader():
    class Weighted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.rand(4, 4))

        def forward(self, x):
            return torch.special.i0(x) @ self.weight.T

    x, model = torch.rand(3, 4), Weighted().eval()
    parts = cut(model, [x], {"i0.default"})
    ((name, (part, given)),) = to_tune(parts, [x]).items()
    assert len(given) == 1
    with torch.no_grad():
        torch.testing.assert_close(assemble(parts, {name: part})(x), (model(x),))


class Weighted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(8, 4))


class Split(Weighted):
    """One piece of a weight for each of two parts."""

    def forward(self, x):
        first, second = self.weight.split(4)
        return torch.special.i0(x @ first) @ second


class Shared(Weighted):
    """What is made of one weight, for two parts and beside them."""

    def forward(self, x):
        turned = self.weight[:4].T + 1
        return torch.special.i0(x @ turned) @ turned, turned


@pytest.mark.parametrize("kind", [Split, Shared])
def test_every_part_makes_of_weights_what_it_reads(kind):
    model, x = kind().eval(), torch.rand(3, 4)
    parts = cut(model, [x], {"i0.default"})
    found = to_tune(parts, [x])
    assert [[one.shape for one in given] for _, given in found.values()] == [[(3, 4)], [(3, 4)]]
    whole = assemble(parts, {name: part for name, (part, _) in found.items()})
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(
            whole(x), expected if isinstance(expected, tuple) else (expected,)
        )


def test_parts_share_random_numbers():
    class Noise(torch.nn.Module):
        def forward(self, x):
            noise = torch.randn(3, 4)
            return torch.special.i0(x + noise) * 0 + noise, noise * 1

    x = torch.rand(3, 4)
    parts = cut(Noise().eval(), [x], {"i0.default"})
    one, other = parts.whole(x)
    torch.testing.assert_close(one, other)


def test_parts_that_read_numbers_are_torchs():
    class Scaled(torch.nn.Module):
        def forward(self, x):
            return x.relu() * x.sum().item()

    x = torch.rand(3, 4)
    parts = cut(Scaled().eval(), [x], {"_local_scalar_dense.default"})
    ((name, (part, given)),) = to_tune(parts, [x]).items()
    assert len(given) == 1
    torch.testing.assert_close(assemble(parts, {name: part})(2 * x), (Scaled()(2 * x),))
