"""Preferences of a CPU: what they say, and that no shape is left without configs."""

import itertools

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir.meta_schedule.testing import te_workload
from tvm.target import Target

from mschedx.space import for_target, sketches

AVX512 = Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 4})


def opened(name, *args, space=None):
    function = te.create_prim_func(list(getattr(te_workload, name)(*args)))
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    return sketches(mod, AVX512, space or for_target(AVX512))


def test_formulas_name_the_tile_and_the_machine():
    for sketch in opened("matmul", 64, 128, 32):
        assert [str(p) for p in sketch.analysis.preferences] == [
            "(C.j_0.2·C.i.2 + C.j_0.2 + 1) <= 32    [C_update: the tile stays in the 32 registers]",
            "C.j_0.0·C.i.0 >= 4    [C_update: every one of 4 cores has work]",
            "C.j_0.2·C.i.2 >= 8    [C_update: 8 independent sums keep the multiply-adders busy]",
        ]


def every_config(sketch):
    """All combinations of rows of the tables, valid or not."""
    tables = sketch.design.tables
    picks = itertools.product(*(table.rows for table in tables))
    order = np.argsort(np.concatenate([table.columns for table in tables]))
    return np.array([np.concatenate(rows) for rows in picks])[:, order]


@pytest.mark.parametrize("shape", [(64, 128, 32), (16, 32, 8), (32, 48, 6)])
def test_narrowed_keeps_the_valid_configs_that_obey_and_no_others(shape):
    for sketch in opened("matmul", *shape):
        every = every_config(sketch)
        wanted = sketch.is_valid(every)
        for preference in sketch.analysis.preferences:
            wanted &= preference.holds(every)
        narrowed = sketch.narrowed(preferences=True)
        kept = np.concatenate(list(narrowed.sampler.every()))
        assert 0 < wanted.sum() < len(every)
        assert narrowed.count() == len(kept) == wanted.sum()
        assert set(map(tuple, kept.tolist())) == set(map(tuple, every[wanted].tolist()))


@pytest.mark.parametrize("shape", [(1, 16, 8), (1, 64, 1), (2, 16, 4)])
def test_a_preference_no_config_can_meet_is_left_out(shape):
    for sketch in opened("matmul", *shape):
        assert sketch.narrowed(preferences=True).count() > 0


def test_advice_changes_no_verdict_on_validity():
    sketch = opened("matmul", 64, 128, 32)[0]
    configs = sketch.sample(500, np.random.default_rng(0))
    spills = ~sketch.analysis.preferences[0].holds(configs)
    assert sketch.is_valid(configs).all()
    assert spills.any(), "the space itself holds tiles that spill"


def test_spaces_that_leave_loops_to_postprocs_get_no_advice():
    for sketch in opened("matmul", 64, 64, 64, space="post-order-apply"):
        assert sketch.narrowed(preferences=True) is sketch
