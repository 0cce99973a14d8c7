"""Columns of programs: exact, the same for every sketch, and the same relaxed."""

from functools import cache

import numpy as np
import pytest
import torch
import tvm

from mschedx import workloads
from mschedx.cost.learned.columns import SCOPES, level_positions
from mschedx.cost.learned.features import (
    ACCESS_NAMES,
    MOST_ROWS,
    STATEMENT_NAMES,
    ProgramFeatures,
)
from mschedx.space import sketches

CPU = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
GPU = tvm.target.Target("nvidia/nvidia-a100")
SPACES = {
    "gemm": ("gemm", (64, 48, 96), "float32", CPU, None),
    "gemm in TVM's space": ("gemm", (64, 48, 96), "float32", CPU, "post-order-apply"),
    "conv2d": ("conv2d", (1, 16, 14, 14, 32, 3, 1, 1), "float32", CPU, None),
    "VNNI": ("gemm", (64, 64, 64), "int8", CPU, None),
    "bf16": ("gemm", (64, 64, 64), "bfloat16", CPU, None),
    "softmax": ("softmax", (32, 48), "float32", CPU, None),
    "tensor cores": ("gemm", (128, 128, 128), "float16", GPU, None),
}


@cache
def opened(name):
    op, shape, dtype, target, space = SPACES[name]
    return sketches(workloads.make(op, shape, dtype), target, space)[0]


def column(rows, name, names=STATEMENT_NAMES):
    """Values of a column, taken back out of the logarithm: [n, S]."""
    return np.exp2(rows[:, :, names.index(name)].astype(np.float64)) - 1


@pytest.mark.parametrize("name", SPACES)
def test_every_kind_of_program_has_features(name):
    sketch = opened(name)
    features = ProgramFeatures.of(sketch)
    configs = sketch.sample(40, np.random.default_rng(0))
    with np.errstate(all="raise"):
        found = features(configs)
    assert features.unknown == {}
    assert found.statements.shape == (40, len(sketch.statements), len(STATEMENT_NAMES))
    assert found.accesses.shape[2] == len(ACCESS_NAMES)
    assert 1 <= found.accesses.shape[1] <= MOST_ROWS
    assert found.statements.dtype == found.accesses.dtype == np.float32
    assert np.isfinite(found.statements).all()
    assert np.isfinite(found.accesses).all()
    # Whoever writes must say so, and where.
    scopes = [ACCESS_NAMES.index(f"in {scope}") for scope in SCOPES]
    assert (found.accesses[:, :, scopes].sum(axis=2) == 1).all()


@pytest.mark.parametrize("name", SPACES)
def test_columns_are_what_statements_say(name):
    sketch = opened(name)
    configs = sketch.sample(30, np.random.default_rng(1))
    rows = ProgramFeatures.of(sketch)(configs).statements
    for number, statement in enumerate(sketch.statements):
        assert np.allclose(
            column(rows, "instances")[:, number], statement.instances(configs), rtol=1e-4
        )
        assert np.allclose(column(rows, "lanes")[:, number], statement.lanes(configs), rtol=1e-4)
        products = sum(n for k, n in statement.operations.items() if k == "float.mul")
        wanted = products * statement.instances(configs)
        assert np.allclose(column(rows, "float.mul.all")[:, number], wanted, rtol=1e-4)


def test_bytes_of_a_level_are_those_of_its_loops():
    sketch = opened("gemm in TVM's space")
    configs = sketch.sample(30, np.random.default_rng(1))
    rows = ProgramFeatures.of(sketch)(configs).statements
    number = next(i for i, s in enumerate(sketch.statements) if s.is_reduction)
    statement = sketch.statements[number]
    tile = level_positions(statement)["tile"]
    assert all(loop.role != "reduction" for loop in statement.loops[tile:])
    wanted = sum(access.bytes_at(tile)(configs) for access in statement.accesses)
    assert np.allclose(column(rows, "bytes.tile")[:, number], wanted, rtol=1e-4)


def test_accesses_come_in_program_order_and_an_update_is_one():
    sketch = opened("gemm")
    configs = sketch.sample(3, np.random.default_rng(1))
    rows = ProgramFeatures.of(sketch)(configs).accesses[0]
    reads, writes = (rows[:, ACCESS_NAMES.index(which)] == 1 for which in ("reads", "writes"))
    # A packed, B packed, C initialised, C updated from both, C written back.
    assert reads.tolist() == [1, 0, 1, 0, 0, 1, 1, 1, 1, 0]
    assert writes.tolist() == [0, 1, 0, 1, 1, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("name", ["gemm", "tensor cores", "softmax"])
def test_relaxed_columns_are_exact_at_configs_and_have_gradients(name):
    sketch = opened(name)
    features = ProgramFeatures.of(sketch)
    configs = sketch.sample(10, np.random.default_rng(2))
    x = torch.tensor(configs, dtype=torch.float64, requires_grad=True)
    statements, accesses = features.relaxed(x)
    exact = features(configs)
    assert np.allclose(statements.detach().numpy(), exact.statements, atol=1e-5)
    assert np.allclose(accesses.detach().numpy(), exact.accesses, atol=1e-5)
    (slope,) = torch.autograd.grad(statements.sum() + accesses.sum(), x)
    assert torch.isfinite(slope).all()
    assert (slope != 0).any()


def test_a_statement_with_an_unknown_number_is_named_and_left_out():
    from dataclasses import replace

    sketch = opened("gemm")
    broken = replace(sketch.statements[0], lanes=None)
    statements = (broken, *sketch.statements[1:])
    reference = np.array([d.domain[0] for d in sketch.decisions])
    features = ProgramFeatures(statements, {}, reference)
    assert features.unknown == {broken.name: "lanes"}
    found = features(sketch.sample(2, np.random.default_rng(0)))
    assert found.statements.shape[1] == len(statements) - 1
    loop = replace(broken.loops[0], extent=None)
    assert replace(broken, loops=(loop,)).missing() == f"the extent of {loop.name}"


def test_features_of_a_sketch_are_made_once_and_go_with_it():
    import gc
    import weakref

    from mschedx.space.sketch import Sketch

    known = opened("gemm")
    sketch = Sketch(known.design, known.analysis)
    assert ProgramFeatures.of(sketch) is ProgramFeatures.of(sketch)
    alive = weakref.ref(ProgramFeatures.of(sketch))
    del sketch
    gc.collect()
    assert alive() is None
