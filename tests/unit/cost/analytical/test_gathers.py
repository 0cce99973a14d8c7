"""Gathered lanes: what is counted, against tiles read off a config by hand."""

import numpy as np
import pytest
import tvm

from mschedx import workloads
from mschedx.cost.analytical.gathers import ALWAYS_UNROLLED, gathered_lanes
from mschedx.cost.analytical.view import ProgramView
from mschedx.space import sketches

CPU = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
REGISTER_BYTES = 64


def opened(op, shape, dtype="float32"):
    return sketches(workloads.make(op, shape, dtype), CPU, "post-order-apply")[0]


def efforts(sketch, configs):
    program = ProgramView(sketch.statements, sketch.analysis.allocations)(configs)
    return gathered_lanes(program, REGISTER_BYTES)


@pytest.fixture(scope="module")
def transposed():
    """A product whose second operand is [N, K]: columns of the result are rows of it."""
    return opened("gemm_nt", (128, 128, 64))


def by_hand(config, unroll):
    """Of the loops i0 j0 i1 j1 k0 i2 j2 k1 i3 j3, j3 in lanes where it is no more than 64."""
    i, j, k = config[:4], config[4:8], config[8:10]
    iterations, limit = 1, max(unroll, ALWAYS_UNROLLED)
    for extent in (i[3], k[1], j[2], i[2], k[0]):
        if extent > 1 and iterations * extent > limit:
            registers = np.ceil(j[3] * 4 / REGISTER_BYTES)
            return iterations * j[3] * registers**2 if registers > 1 else 0
        iterations *= extent
    return None  # loops outside are fused and parallel, or not: another formula


def test_lanes_are_counted_as_often_as_they_are_unrolled(transposed):
    configs = transposed.sample(400, np.random.default_rng(0))
    found = efforts(transposed, configs)
    checked = 0
    for config, effort in zip(configs, found):
        wanted = by_hand(config, config[-1])
        if wanted is not None and 1 < config[7] <= 64:
            assert effort == wanted
            checked += 1
    assert checked > 100


def test_vectors_of_one_register_are_not_counted(transposed):
    configs = transposed.sample(400, np.random.default_rng(0))
    found = efforts(transposed, configs)
    assert (found[configs[:, 7] <= REGISTER_BYTES // 4] == 0).all()
    assert (found[(configs[:, 7] > 16) & (configs[:, 7] <= 64)] > 0).all()


@pytest.mark.parametrize("operator", [("gemm", (128, 128, 64)), ("gemm", (64, 64, 64), "int8")])
def test_neighbours_and_blocks_of_dot_products_are_no_gathers(operator):
    sketch = opened(*operator)
    assert (efforts(sketch, sketch.sample(200, np.random.default_rng(0))) == 0).all()
