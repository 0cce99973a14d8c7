"""The published data-flow branch's accesses: pruner.md section 8, fact 12."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import te

from mschedx import workloads
from mschedx.cost import PAMConfig
from mschedx.cost.base import Measured
from mschedx.cost.learned.columns import SCOPES
from mschedx.cost.learned.dataflow_pattern import as_executed, first_match
from mschedx.cost.learned.features import ACCESS_NAMES, ProgramFeatures
from mschedx.cost.learned.pam import PAMModel
from mschedx.cost.learned.train import TrainConfig
from mschedx.space import sketches

GPU = tvm.target.Target("nvidia/nvidia-a100")


def opened(op, shape, on=GPU):
    return sketches(workloads.make(op, shape, "float32"), on, "post-order-apply")[0]


def three_inputs():
    a, b, c = (te.placeholder((64, 64), name=name) for name in "ABC")
    k = te.reduce_axis((0, 64), name="k")
    d = te.compute((64, 64), lambda i, j: te.sum(a[i, k] * b[k, j] * c[i, j], axis=k), name="D")
    mod = tvm.IRModule({"main": te.create_prim_func([a, b, c, d])})
    return sketches(mod, GPU, "post-order-apply")[0]


@pytest.mark.parametrize(
    ("op", "shape"), [("gemm", (1024, 1024, 64)), ("conv2d", (1, 14, 14, 32, 16, 3, 1, 1))]
)
def test_fact_12_a_product_through_shared_memory_is_eight_accesses(op, shape):
    sketch = opened(op, shape)
    found = ProgramFeatures.of(sketch, published=True)(sketch.sample(5, np.random.default_rng(0)))
    assert found.accesses.shape == (5, 8, len(ACCESS_NAMES))
    digit = {"global": 0, "shared": 1, "fragment": 2, "local": 2}
    columns = [ACCESS_NAMES.index(f"in {scope}") for scope in SCOPES]
    scopes = found.accesses[:, :, columns].argmax(axis=2)
    spelt = [digit[SCOPES[one]] for one in scopes[0]]
    assert spelt == [2, 0, 1, 0, 1, 1, 1, 2]
    assert (scopes == scopes[0]).all()


def test_fact_12_other_programs_are_zeros():
    for sketch in (opened("gelu", (64, 64)), opened("softmax", (64, 64)), three_inputs()):
        configs = sketch.sample(3, np.random.default_rng(0))
        found = ProgramFeatures.of(sketch, published=True)(configs)
        assert found.accesses.shape[1] == 8
        assert not found.accesses.any()
        assert ProgramFeatures.of(sketch)(configs).accesses.any()


def test_an_initialisation_runs_before_what_lies_in_its_reduction_loops():
    names = [statement.name for statement in as_executed(opened("gemm", (64, 64, 64)).statements)]
    assert names == ["C_init", "A_shared", "B_shared", "C", "C_local"]
    softmax = opened("softmax", (64, 64)).statements
    assert as_executed(softmax) == list(softmax)


def test_the_first_match_counts_and_names_of_scopes_may_have_parts():
    scopes = ["local", "global", "shared.dyn", "global", "shared", "shared", "shared", "wmma.acc"]
    assert first_match(scopes) == slice(0, 8)
    assert first_match(["global", *scopes, *scopes]) == slice(1, 9)
    assert first_match(scopes[:-1]) is None


def test_the_published_form_reads_the_pattern_alone():
    sketch = opened("gemm", (64, 64, 64))
    configs = sketch.sample(2, np.random.default_rng(0))
    assert PAMModel(PAMConfig(published=True)).reader(sketch)(configs).accesses.shape[1] == 8
    assert PAMModel().reader(sketch)(configs).accesses.shape[1] > 8
    model = PAMModel(PAMConfig(published=True, train=TrainConfig(epochs=2)))
    configs = sketch.sample(16, np.random.default_rng(0))
    model.learn(sketch.task, [Measured(sketch, configs, np.linspace(1e-4, 2e-4, 16))])
    assert np.isfinite(model.score(sketch.task, [(sketch, configs)])).all()


def test_an_initialisation_whose_update_is_not_known_stays_where_it_is():
    sketch = opened("gemm", (64, 64, 64))
    init, main = (s for s in sketch.statements if s.name in ("C_init", "C"))
    others = [s for s in sketch.statements if s not in (init, main)]
    assert as_executed([init]) == [init]
    assert as_executed([*others, init]) == [*others, init]
    assert as_executed([init, others[-1]]) == [init, others[-1]]
    reference = np.array([d.domain[0] for d in sketch.decisions])
    veiled = [init, replace(main, lanes=None)]
    lattice = sketch.design.lattice
    features = ProgramFeatures(veiled, {}, reference, lattice, published=True)
    assert features.unknown == {"C": "lanes"}


def test_an_initialisation_stays_in_its_kernel():
    """Loops of two kernels may have the same names."""
    statements = list(opened("gemm", (64, 64, 64)).statements)
    later = [replace(s, name=f"{s.name}'", kernel=s.kernel + 1) for s in statements]
    names = [statement.name for statement in as_executed([*statements, *later])]
    assert names == [s.name for part in (statements, later) for s in as_executed(part)]


def test_a_block_that_computes_is_no_initialisation_whatever_its_name():
    a = te.placeholder((64, 64), name="A")
    h = te.compute((64, 64), lambda i, j: a[i, j] * 2.0, name="h_init")
    cpu = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
    sketch = sketches(tvm.IRModule({"main": te.create_prim_func([a, h])}), cpu)[0]
    assert not any(statement.is_init for statement in sketch.statements)
    assert PAMModel(PAMConfig(published=True)).reader(sketch)
