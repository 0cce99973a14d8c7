"""Attention in chunks of queries: right, one design, and the scores never whole."""

import numpy as np
import pytest
import tvm
from agreement import assert_sketches_agree
from tvm import te, topi
from tvm.s_tir import Schedule
from tvm.target import Target

from mschedx import compat
from mschedx.hardware import Hardware, host_target
from mschedx.networks.rewrites.attention import attention_function
from mschedx.space import sketches
from mschedx.space.analysis.read.lowered import allocations
from mschedx.space.rules.attention_tile import find_attention
from mschedx.space.rules.stages import root_blocks

CASCADELAKE = Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})


def module(func):
    return tvm.IRModule({"main": func.with_attr("global_symbol", "main")})


def written_by_hand(
    *, transposed=False, kept=False, scored=False, gated=False, dtype="float32", length=32
):
    """The textbook's attention of [heads, length, size], quotients and all."""
    heads, size = 2, 16
    q, v = (te.placeholder((heads, length, size), dtype, name) for name in "QV")
    shape = (heads, length, size) if transposed else (heads, size, length)
    k = te.placeholder(shape, dtype, "K")
    r, j = te.reduce_axis((0, size), "r"), te.reduce_axis((0, length), "j")

    def score(h, i, x):
        return te.sum(q[h, i, r] * (k[h, x, r] if transposed else k[h, r, x]), axis=r)

    scores = te.compute((heads, length, length), score, "S")
    weights = topi.nn.relu(scores) if gated else topi.nn.softmax(scores, axis=-1)
    factors = scores if scored else weights
    mixed = te.compute(
        (heads, length, size), lambda h, i, c: te.sum(factors[h, i, j] * v[h, j, c], axis=j), "O"
    )
    return te.create_prim_func([q, k, v, *([weights] if kept else []), mixed])


@pytest.mark.parametrize(
    ("shape", "mask"),
    [
        ((1, 2, 32, 32, 16), None),
        ((2, 3, 20, 24, 8), (2, 1, 1, 24)),
        ((1, 2, 12, 16, 32), (12, 16)),
        ((1, 1, 7, 8, 8), None),
    ],
    ids=["square", "masked keys", "masked pairs", "odd queries"],
)
def test_attention_in_chunks_is_right(shape, mask):
    func = attention_function(*shape, mask)
    (sketch,) = sketches(module(func), host_target())
    assert any(name.startswith("scores_global") for name in sketch.names), "another rule's"
    assert_sketches_agree(func, host_target(), 5)


def test_nothing_is_said_of_blocks_that_it_is_not_for(caplog):
    assert sketches(module(attention_function(1, 2, 64, 48, 32, (64, 48))), CASCADELAKE)
    assert not caplog.records


def test_quotients_of_scores_are_right_too():
    assert_sketches_agree(written_by_hand(), host_target(), 5)


def test_there_is_one_design_of_which_all_is_known():
    (sketch,) = sketches(module(attention_function(1, 2, 64, 48, 32, (64, 48))), CASCADELAKE)
    assert sketch.analysis.unresolved == {}
    assert sketch.count() > 100


def test_no_core_ever_holds_the_scores_of_all_queries():
    mod = module(attention_function(1, 2, 64, 128, 32, None))
    (sketch,) = sketches(mod, CASCADELAKE)
    rows = [sketch.names.index(f"result.i.{part}") for part in (1, 2)]
    for config in sketch.sample(8, np.random.default_rng(0)):
        shapes = allocations(sketch.schedule(config).mod["main"])
        chunk = int(np.prod(config[rows]))
        assert np.prod(shapes["scores"]) == chunk * 128
        assert np.prod(shapes["weights"]) == chunk * 128


def test_exponentials_stay_vectors_behind_a_mask():
    (sketch,) = sketches(module(attention_function(1, 2, 32, 32, 16, (32, 32))), CASCADELAKE)
    text = sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0]).mod.script()
    assert "mschedx_exp_16" in text
    assert "T.exp(" not in text


@pytest.mark.parametrize(
    "what",
    [
        {"transposed": True},
        {"kept": True},
        {"scored": True},
        {"gated": True},
        {"dtype": "float64"},
        {"length": 1 << 15},
    ],
    ids=lambda what: next(iter(what)),
)
def test_other_functions_keep_their_rules(what):
    """Keys as rows, weights that the caller gets too, a product of the scores themselves.

    Also two layers without a softmax, other types, and keys that no core's cache holds.
    """
    compat.load_tensor_intrinsics()
    schedule = Schedule(module(written_by_hand(**what)))
    hardware = Hardware.from_target(CASCADELAKE)
    found = [find_attention(schedule, block, hardware) for block in root_blocks(schedule)]
    assert found == [None] * len(found)
    assert sketches(module(written_by_hand(**what)), CASCADELAKE)
