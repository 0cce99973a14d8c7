"""The program that candidates are held against."""

import numpy as np
import pytest
import tvm
from programs_to_measure import TARGET, module
from tvm import te, topi
from tvm.script import tirx as T

from mschedx.measure import verify
from mschedx.measure.reference import blocked, precision, quick


def total(terms, dtype="float32", combine=topi.sum):
    x = te.placeholder(terms, dtype=dtype, name="X")
    return module(te.create_prim_func([x, combine(x)]))


def run(mod, x):
    out = np.zeros((), x.dtype)
    tensors = [tvm.runtime.tensor(x), tvm.runtime.tensor(out)]
    tvm.compile(mod, target=TARGET)["main"](*tensors)
    return float(tensors[1].numpy())


@pytest.mark.parametrize(("dtype", "terms"), [("float32", (1024, 4096)), ("float16", (2048,))])
def test_a_long_sum_is_exact_to_a_few_roundings_in_blocks(dtype, terms):
    mod = total(terms, dtype)
    x = np.random.default_rng(0).uniform(0, 1, terms).astype(dtype)
    want = float(x.astype(np.float64).sum())
    in_order = abs(run(quick(mod), x) / want - 1)
    in_blocks = abs(run(quick(blocked(mod)), x) / want - 1)
    eps = float(np.finfo(dtype).eps)
    assert in_blocks <= 2 * eps * np.sqrt(x.size)
    assert in_blocks < in_order / 4


def test_short_sums_integers_and_primes_stay_as_they_are():
    assert blocked(total((1024,))) is None
    assert blocked(total((1 << 22,), "int32")) is None
    assert blocked(total((4194301,))) is None


def test_a_long_sum_beside_a_block_without_loops_is_added_up_in_blocks():
    x = te.placeholder((4096,), dtype="float16", name="X")
    summed = topi.sum(x)
    doubled = te.compute((), lambda: summed[()] + summed[()], name="doubled")
    mod = module(te.create_prim_func([x, doubled]))
    in_blocks = blocked(mod)
    assert in_blocks is not None
    assert verify(mod, mod, TARGET).ok


@T.prim_func(s_tir=True)
def named_root(x: T.Buffer((4096,), "float16"), y: T.Buffer((), "float16")):
    with T.sblock("whole"):
        for k in range(4096):
            with T.sblock("sum"):
                vk = T.axis.reduce(4096, k)
                with T.init():
                    y[()] = T.float16(0)
                y[()] = y[()] + x[vk]


def test_the_outermost_block_may_have_any_name():
    mod = module(named_root)
    in_blocks = blocked(mod)
    assert in_blocks is not None
    assert verify(quick(in_blocks), mod, TARGET).ok


def test_a_candidate_of_either_order_is_right_and_one_that_drops_a_row_is_not():
    mod = total((1024, 4096))
    assert verify(blocked(mod), mod, TARGET).ok
    kept = verify(mod, mod, TARGET)
    assert kept.ok, kept.reason
    dropped = total(
        (1024, 4096), combine=lambda x: topi.sum(topi.strided_slice(x, [0, 0], [1000, 4096]))
    )
    assert not verify(dropped, mod, TARGET).ok


@T.prim_func(s_tir=True)
def rows_to_the_diagonal(x: T.Buffer((16, 24), "float32"), y: T.Buffer((16,), "float32")):
    for i in range(16):
        for j in range(i + 1):
            with T.sblock("sum"):
                vi, vj = T.axis.remap("SR", [i, j])
                with T.init():
                    y[vi] = T.float32(0)
                y[vi] = y[vi] + x[vi, vj]


@T.prim_func(s_tir=True)
def sparse_rows(
    first: T.Buffer((9,), "int32"), x: T.Buffer((50,), "float32"), y: T.Buffer((8,), "float32")
):
    for i in range(8):
        with T.sblock("row"):
            vi = T.axis.spatial(8, i)
            T.reads(first[vi : vi + 2], x[0:50])
            T.writes(y[vi])
            for j in range(first[vi + 1] - first[vi]):
                with T.sblock("sum"):
                    vj = T.axis.reduce(first[vi + 1] - first[vi], j)
                    T.reads(first[vi], x[0:50])
                    T.writes(y[vi])
                    with T.init():
                        y[vi] = T.float32(0)
                    y[vi] = y[vi] + x[first[vi] + vj]


def test_of_a_reduction_of_varying_length_the_longest_counts():
    assert precision(module(rows_to_the_diagonal)).reductions == (("float32", 16),)
    assert precision(module(sparse_rows)).reductions == (("float32", 50),)
    image = te.placeholder((1, 2, 7, 7), name="image")
    pooled = te.create_prim_func([image, topi.nn.adaptive_pool(image, (3, 3), "avg")])
    ((dtype, terms),) = precision(module(pooled)).reductions
    assert dtype == "float32"
    assert 9 <= terms <= 64, "windows are 3 by 3 of an image of 7 by 7"


def test_a_running_sum_counts_as_a_reduction_and_a_scalar_does_not():
    x = te.placeholder((4, 4096), name="x")
    running = module(te.create_prim_func([x, topi.cumsum(x, 1)]))
    assert precision(running).reductions == (("float32", 4096),)
    one = te.placeholder((), name="one")
    alone = module(te.create_prim_func([one, te.compute((), lambda: one[()] * 2)]))
    assert precision(alone).reductions == ()


@pytest.mark.parametrize(("terms", "checked"), [(16, True), (512, False)])
def test_a_product_is_checked_where_something_is_left_of_it(terms, checked):
    x = te.placeholder((100, terms), name="x")
    mod = module(te.create_prim_func([x, topi.prod(x, 1)]))
    assert precision(mod).multiplies
    assert not precision(total((16,))).multiplies
    result = verify(mod, mod, TARGET)
    assert (result.ok, result.checked) == (checked, checked), result.reason


def test_a_sum_of_varying_length_is_verified():
    mod = module(rows_to_the_diagonal)
    assert blocked(mod) is None
    result = verify(mod, mod, TARGET)
    assert result.ok, result.reason
