"""Attention of torch as one function for a rule of its own, or as its products."""

import numpy as np
import pytest
import torch
from tiny_networks import relax_outputs
from torch import nn
from tvm import relax

from mschedx import tune_model
from mschedx.networks.errors import NetworkError
from mschedx.networks.importing import import_network
from mschedx.networks.rewrites.graph import op_name
from mschedx.networks.rewrites.pipeline import simplify


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, q, k, v, mask=None):
        return nn.functional.scaled_dot_product_attention(q, k, v, mask, **self.options)


def rewritten(model, *inputs):
    """Operators of a network with attention in chunks, its output compared with torch's."""
    found = import_network(model.eval(), inputs)
    after = simplify(found.mod, channels_last=True, chunked=True)
    (output,) = relax_outputs(after, [value.numpy() for value in inputs])
    expected = model(*inputs).numpy()
    np.testing.assert_allclose(output, expected, rtol=2e-5, atol=2e-5)
    names = []
    relax.analysis.post_order_visit(after["main"], lambda e: names.append(op_name(e)))
    return [name.removeprefix("relax.").removeprefix("nn.") for name in names if name]


def normal(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize(
    ("queries", "keys", "options", "mask"),
    [
        (16, 16, {}, None),
        (5, 24, {"scale": 0.3}, None),
        (16, 16, {"is_causal": True}, None),
        (5, 24, {}, (2, 3, 5, 24)),
        (5, 24, {}, (1, 1, 5, 24)),
        (5, 24, {}, (2, 1, 1, 24)),
    ],
    ids=["plain", "scaled", "causal", "whole mask", "one mask", "masked keys"],
)
def test_it_is_one_function(queries, keys, options, mask):
    inputs = [normal(2, 3, queries, 8), normal(2, 3, keys, 8), normal(2, 3, keys, 8)]
    if mask is not None:
        hidden = normal(*mask) > 1
        inputs.append(torch.where(hidden, -torch.inf, normal(*mask)))
    names = rewritten(Attention(**options), *inputs)
    assert names.count("call_tir") == 1
    assert "matmul" not in names


@pytest.mark.parametrize(
    ("queries", "keys", "size", "dtype"),
    [
        (6, 7, 8, torch.float32),
        (6, 8, 6, torch.float32),
        (1, 16, 8, torch.float32),
        (8, 8, 8, torch.float64),
    ],
    ids=["odd keys", "odd size", "one query", "doubles"],
)
def test_other_attention_is_its_products(queries, keys, size, dtype):
    shapes = (queries, keys, keys)
    names = rewritten(Attention(), *(normal(1, 2, n, size, dtype=dtype) for n in shapes))
    assert names.count("matmul") == 2
    assert "call_tir" not in names


def of_relax(shapes, **options):
    """A network that is one call of Relax's own attention."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(one, "float32")) for i, one in enumerate(shapes)]
    with builder.function("main", inputs):
        with builder.dataflow():
            found = builder.emit_output(builder.emit(relax.op.nn.attention(*inputs, **options)))
        builder.emit_func_output(found)
    return builder.get()


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize(
    ("groups", "keys", "biased"), [(2, 16, False), (1, 16, False), (3, 16, True), (2, 7, True)]
)
def test_heads_of_relax_may_share_keys(groups, keys, biased, chunked):
    """Relax takes keys of fewer heads, as in grouped queries, for as many neighbours each."""
    heads, size, queries = 6, 8, 5
    shapes = [(2, queries, heads, size), (2, keys, groups, size), (2, keys, groups, size)]
    shapes += [(2, heads, queries, keys)] if biased else []
    mod = of_relax(shapes)
    arrays = [normal(*one) for one in shapes]
    q, k, v = (one.transpose(1, 2) for one in arrays[:3])
    mask = arrays[3] if biased else None
    expected = nn.functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)

    after = simplify(mod, channels_last=True, chunked=chunked)
    (output,) = relax_outputs(after, [one.numpy() for one in arrays])
    np.testing.assert_allclose(output, expected.transpose(1, 2).numpy(), rtol=2e-5, atol=2e-5)


def test_attention_in_windows_is_refused_with_the_reason():
    mod = of_relax([(1, 8, 2, 8)] * 3, window_size=4, causal_mask="BottomRight")
    with pytest.raises(NetworkError, match=r"cannot compile this network: .*sliding-window"):
        tune_model(mod, trials_per_task=0, progress=False)
