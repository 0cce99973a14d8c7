"""Outputs of networks that rounding may have decided, and what a check says of them."""

import numpy as np
import pytest
import torch
import tvm
from tiny_networks import TARGET, quick

from mschedx import tune_model
from mschedx.measure.provenance import Provenance
from mschedx.networks.importing import import_network
from mschedx.networks.provenance import output_provenances
from mschedx.networks.rewrites.pipeline import fuse, simplify

LLVM = tvm.target.Target(TARGET)


class Ending(torch.nn.Module):
    """A linear layer and what follows it."""

    def __init__(self, last):
        super().__init__()
        self.first, self.last = torch.nn.Linear(8, 8), last

    def forward(self, x):
        return self.last(self.first(x))


class Logarithm(torch.nn.Module):
    """NaN for inputs below a bound."""

    def __init__(self, least):
        super().__init__()
        self.least = least

    def forward(self, x):
        return torch.log(x - self.least).softmax(-1)


def provenances_of(model):
    imported = import_network(model.eval(), (torch.rand(3, 8),))
    return output_provenances(fuse(simplify(imported.mod), LLVM))


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (lambda y: y, [Provenance.COMPUTED]),
        (lambda y: (y.sigmoid() * 255).to(torch.uint8), [Provenance.ROUNDED]),
        (lambda y: y.argmax(-1), [Provenance.DECIDED]),
        (lambda y: y.bfloat16().argmax(-1), [Provenance.DECIDED]),
        (lambda y: tuple(y.topk(2)), [Provenance.COMPUTED, Provenance.DECIDED]),
        (lambda y: (y > 0, y), [Provenance.DECIDED, Provenance.COMPUTED]),
    ],
)
def test_what_follows_a_layer(last, expected):
    assert list(provenances_of(Ending(last))) == expected


def test_a_place_in_the_inputs_is_no_matter_of_rounding():
    class Places(torch.nn.Module):
        def forward(self, at):
            return at * 3 + 1

    imported = import_network(Places().eval(), (torch.arange(8),))
    assert output_provenances(fuse(simplify(imported.mod), LLVM)) == (Provenance.EXACT,)


@pytest.mark.parametrize(("least", "verified"), [(0.0, True), (2.0, False)])
def test_a_network_that_is_nan_on_most_inputs_is_checked_on_positive_ones(least, verified):
    x = torch.from_numpy(np.linspace(3, 4, 24, dtype=np.float32).reshape(3, 8))
    parts = quick(space=None, strategy=None, cost_model=None)
    result = tune_model(Logarithm(least).eval(), (x,), trials_per_task=0, **parts)
    assert result.verified is verified
    said = [note for note in result.notes if "are NaN or infinite for the inputs tried" in note]
    assert len(said) == (0 if verified else 1)
    assert not result.wrong


class Limited(torch.nn.Module):
    """Values of which those from NaN on are what a maximum makes of NaN."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, x):
        return self.limit(x) * 2


LIMITS = {
    "clamp": lambda x: torch.log(x).clamp(min=-10),
    "relu": lambda x: torch.sqrt(x).relu(),
    "maximum": lambda x: torch.maximum(torch.log(x), torch.full_like(x, -3)),
    "max_pool2d": lambda x: torch.nn.functional.max_pool2d(x.log()[None], 2, 2)[0],
}


@pytest.mark.parametrize("limit", LIMITS)
def test_maxima_of_nan_do_not_make_a_network_wrong(limit):
    """Torch hands NaN on, TVM's maxima give the number."""
    parts = quick(space=None, strategy=None, cost_model=None)
    model, x = Limited(LIMITS[limit]).eval(), torch.rand(4, 8) + 0.5
    result = tune_model(model, (x,), trials_per_task=0, **parts)
    assert not result.wrong
    assert result.verified, result.notes
