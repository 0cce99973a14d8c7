"""The program that candidates are held against."""

import numpy as np
import pytest
import tvm
from programs_to_measure import TARGET, module
from tvm import te, topi
from tvm.script import tirx as T

from mschedx.measure import verify
from mschedx.measure.reference import blocked, quick


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
