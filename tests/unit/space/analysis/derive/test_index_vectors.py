"""Constraints on vectors of a thread agree with what TVM can write in CUDA."""

import itertools

import numpy as np
import pytest
from cuda_compiles import outside_postprocs, refusal
from cuda_workloads import TARGET, convolution, product
from tvm import IRModule
from tvm.s_tir.meta_schedule.space_generator import PostOrderApply
from tvm.target import Target

from mschedx import compat
from mschedx.space import sketches
from mschedx.space.analysis.model import CODE_GENERATION

A100 = Target(TARGET)


def tvm_sketch(*sizes, dtype="int8", **choices):
    """The first sketch of TVM's space on CUDA cores."""
    return sketch_of(product(*sizes, dtype, **choices))


def sketch_of(function):
    mod = IRModule({"main": function})
    compat.load_tensor_intrinsics()
    rules = dict.fromkeys(("sch_rules", "postprocs", "mutator_probs"), "cuda")
    return sketches(mod, A100, PostOrderApply(**rules))[0]


def lanes_and_rows(sketch, shape):
    """All tiles of a thread block of 32 threads that `shape` allows, with any lanes for A and B."""
    choices = []
    for d in sketch.design.decisions:
        loop, _, position = d.name.rpartition(".")
        if loop in shape:
            choices.append(sorted(set(d.domain) & shape[loop][int(position)]))
        elif d.name.endswith(".fetch"):
            choices.append(d.domain)
        else:
            choices.append(d.domain[:1])
    return np.array(list(itertools.product(*choices)))


def test_lanes_and_rows_of_a_small_space():
    """Lanes of bytes over rows of every length: admitted where TVM writes CUDA, else not."""
    sketch = tvm_sketch(32, 32, 16)
    one, rows = {1}, {1, 2, 4, 8, 16}
    threads = {"C.i0": (one, one, {32}, one, one), "C.i1": (rows, one, one, one, {2, 4, 8, 16, 32})}
    configs = lanes_and_rows(sketch, {**threads, "C.r": (rows, one, rows)})
    tables = [table for table in sketch.design.tables if len(table.columns) > 1]
    whole = np.all([np.prod(configs[:, list(t.columns)], 1) == t.rows[0].prod() for t in tables], 0)
    configs = np.random.default_rng(0).permutation(configs[whole])[:150]
    admitted, compiles = outside_postprocs(sketch, configs, A100)
    assert 20 < admitted.sum() < len(admitted) - 20
    np.testing.assert_array_equal(admitted, compiles)


@pytest.mark.parametrize(
    ("sizes", "choices"),
    [
        ((100, 72, 40), {}),
        ((48, 24, 12), {}),  # rows of 12 under lanes of 8 and 16
        ((48, 24, 36), {"transposed": True}),
        ((40, 24, 40), {"dtype": "float16", "out": "float16"}),
        ((20, 24, 12), {"batch": 3}),
    ],
)
def test_random_configs_are_admitted_where_tvm_writes_cuda(sizes, choices):
    sketch = tvm_sketch(*sizes, **choices)
    rng = np.random.default_rng(1)
    configs = np.concatenate([table_rows(sketch, rng) for _ in range(3)])
    admitted, compiles = outside_postprocs(sketch, configs, A100, most=15)
    np.testing.assert_array_equal(admitted, compiles)


def table_rows(sketch, rng, count=400):
    """Random rows of every table."""
    configs = np.repeat(sketch.design.default_config()[None], count, axis=0)
    for table in sketch.design.tables:
        configs[:, list(table.columns)] = table.rows[rng.integers(len(table.rows), size=count)]
    return configs


def test_rows_in_a_row_have_no_gap():
    """Rows of 4 bytes that are whole rows of A may be fetched 16 at a time."""
    sketch = tvm_sketch(64, 64, 4)
    configs = table_rows(sketch, np.random.default_rng(0), 4000)
    values = sketch.analysis.values(configs)
    whole = (values["A_shared/alloc[1]"] == 4) & (values["A_shared/vector"] == 16)
    kept = np.all([c.holds(configs) for c in sketch.constraints], axis=0) & whole
    assert kept.sum() > 5
    for config in configs[kept][:3]:
        assert refusal(sketch.schedules(config[None])[0], A100) == ""


def test_a_loop_fetches_no_lanes_whose_places_in_the_tile_are_a_vector():
    """``ThreadSync`` fails on them; unrolled, or fetched at once, the same lanes are taken."""
    sketch = sketch_of(convolution(3, 1, 0, "int8"))
    own = [c for c in sketch.constraints if c.origin.endswith("apart in a loop")]
    rest = [c for c in sketch.constraints if c not in own]
    configs = sketch.sample(200, np.random.default_rng(0))
    # Three lanes over rows of 2ⁿ bytes, which no draw has often.
    fetch = [i for i, name in enumerate(sketch.names) if name.endswith(".fetch")]
    configs[:, fetch[1]] = 3
    configs = configs[np.all([c.holds(configs) for c in rest], axis=0)]
    admitted = np.all([c.holds(configs) for c in own], axis=0)
    assert (~admitted).sum() > 5
    assert admitted.sum() > 5
    for config in configs[~admitted][:6]:
        assert "eval_vec_" in refusal(sketch.schedules(config[None])[0], A100)
    for config in configs[admitted][:6]:
        assert refusal(sketch.schedules(config[None])[0], A100) == ""


def test_the_origin_says_which_lanes():
    origins = [c.origin for c in tvm_sketch(32, 32, 16).constraints]
    assert f"{CODE_GENERATION}: lanes of A_shared apart in A" in origins
