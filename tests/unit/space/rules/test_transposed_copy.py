"""Copies that lie the other way round: which are made in registers, and that they are right."""

import numpy as np
import pytest
import tvm
from tvm import te, topi
from tvm.s_tir import Schedule
from tvm.target import Target
from unoptimised import run_once

from mschedx.hardware import Hardware
from mschedx.space.opening import sketches
from mschedx.space.rules.stages import stages_of
from mschedx.space.rules.transposed_copy import transpose_of

TARGET = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
HARDWARE = Hardware.from_target(TARGET)


def permuted(shape, order, dtype="float32"):
    x = te.placeholder(shape, dtype, name="X")
    return te.create_prim_func([x, topi.transpose(x, order)])


def transpose_of_function(function):
    sch = Schedule(tvm.IRModule({"main": function}))
    (stage,) = stages_of(sch)
    return transpose_of(sch, stage, HARDWARE)


COPIES = {
    "matrix": ((48, 40), (1, 0), (0, 0)),
    "batch": ((3, 16, 24), (0, 2, 1), (0, 0)),
    "to-channels-last": ((2, 16, 5, 8), (0, 2, 3, 1), (1, 0)),
    "to-channels-first": ((2, 5, 8, 16), (0, 3, 1, 2), (0, 1)),
    "volume-to-channels-last": ((1, 8, 3, 2, 16), (0, 2, 3, 4, 1), (2, 0)),
    "volume-to-channels-first": ((1, 3, 2, 16, 8), (0, 4, 1, 2, 3), (0, 2)),
}


@pytest.mark.parametrize("name", COPIES)
def test_every_config_copies(name):
    shape, order, gaps = COPIES[name]
    function = permuted(shape, order)
    assert transpose_of_function(function).gaps == gaps
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    expected = x.transpose(order)
    (sketch,) = sketches(mod, TARGET)
    for config in np.unique(sketch.sample(12, np.random.default_rng(0)), axis=0):
        found = run_once(sketch.schedule(config).mod, TARGET, [x, np.zeros_like(expected)])
        np.testing.assert_array_equal(found[-1], expected)


def spread(m, n):
    """Every column the same: nothing lies the other way round."""
    x = te.placeholder((m,), "float32", name="X")
    return te.create_prim_func([x, te.compute((m, n), lambda i, j: x[i], name="Y")])


def doubled(m, n):
    x = te.placeholder((m, n), "float32", name="X")
    return te.create_prim_func([x, te.compute((n, m), lambda i, j: x[j, i] * 2.0, name="Y")])


@pytest.mark.parametrize(
    "function",
    [
        permuted((48, 40), (0, 1)),
        permuted((4, 8, 16), (1, 0, 2)),
        permuted((48, 40), (1, 0), "int8"),
        permuted((48, 20), (1, 0)),
        permuted((20, 48), (1, 0)),
        permuted((8, 3, 5, 7, 16), (1, 2, 3, 4, 0)),
        spread(16, 16),
        doubled(16, 16),
    ],
    ids=["as-it-is", "rows", "int8", "odd-run", "odd-lanes", "far-apart", "spread", "doubled"],
)
def test_others_are_no_transposing_copies(function):
    assert transpose_of_function(function) is None
