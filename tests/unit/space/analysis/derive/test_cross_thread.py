"""Reductions across threads under explicit unrolling: admitted where TVM writes CUDA, else not."""

import itertools

import numpy as np
import pytest
from cuda_compiles import outside_postprocs
from cuda_workloads import TARGET
from tvm import IRModule
from tvm.target import Target

from mschedx import workloads
from mschedx.space import sketches

A100 = Target(TARGET)


@pytest.mark.parametrize(("operator", "shape"), [("mean", (16, 300)), ("mean", (6, 64))])
def test_every_config(operator, shape):
    mod = IRModule({"main": workloads.make(operator, shape, "float32")})
    sketch = next(s for s in sketches(mod, A100) if "split" in s.design.names)
    configs = np.array(list(itertools.product(*(d.domain for d in sketch.design.decisions))))
    admitted, compiles = outside_postprocs(sketch, configs, A100)
    assert 0 < admitted.sum() < len(admitted)
    np.testing.assert_array_equal(admitted, compiles)


@pytest.mark.parametrize("operator", ["softmax", "layer_norm"])
def test_a_row_a_block_is_not_copied(operator):
    mod = IRModule({"main": workloads.make(operator, (24, 100), "float32")})
    for sketch in sketches(mod, A100):
        configs = sketch.sample(12, np.random.default_rng(0))
        admitted, compiles = outside_postprocs(sketch, configs, A100)
        assert admitted.all()
        assert compiles.all()
