"""Quotients and remainders of falling indices, which TVM compiles to others."""

import numpy as np
import pytest
import tvm
from spaces import module
from tvm import te
from tvm.s_tir import Schedule
from tvm.script import tirx as T

from mschedx import compat, measure
from mschedx.hardware import host_target
from mschedx.space import sketches
from mschedx.space.miscompiled import falling_quotients
from mschedx.space.trace.fixed_locations import INLINED
from mschedx.space.trace.location_offers import offer_at

with compat.fast_script():

    @T.prim_func(s_tir=True)
    def turned(x: T.Buffer((16, 16), "float32"), y: T.Buffer((16, 16), "float32")):
        """The rows of a gather backwards."""
        t = T.sblock_alloc_buffer((16, 16))
        for o, i, j in T.grid(4, 4, 16):
            with T.sblock("t"):
                v0 = T.axis.spatial(16, o * 4 + i)
                v1 = T.axis.spatial(16, j)
                T.where(o * 4 + i < 16)
                t[v0, v1] = x[v0, (v1 * 2 + 4) % 16]
        for i, j in T.grid(16, 16):
            with T.sblock("y"):
                v0, v1 = T.axis.remap("SS", [i, j])
                y[v0, v1] = t[v0, 15 - v1]


def reads(index):
    x = te.placeholder((64,), "float32", name="x")
    return module([x, te.compute((16,), lambda i: x[index(i)], name="y")])


@pytest.mark.parametrize(
    "index", [lambda i: (15 - i) % 8, lambda i: (15 - i) // 8], ids=["remainder", "quotient"]
)
def test_tvm_compiles_something_else(index):
    built = tvm.compile(reads(index), target=host_target())
    given = np.arange(64, dtype="float32")
    result = tvm.runtime.tensor(np.zeros(16, "float32"))
    built(tvm.runtime.tensor(given), result)
    expected = given[[index(i) for i in range(16)]]
    assert (result.numpy() != expected).any(), "TVM is right now: drop the module"


@pytest.mark.parametrize(
    ("index", "count"),
    [
        (lambda i: (15 - i) % 8, 1),
        (lambda i: (i * -2 + 40) // 3, 1),
        (lambda i: (15 - i) // 8 + (15 - i) % 8, 2),
        (lambda i: (i - 1) // 2 + 1, 0),
        (lambda i: 15 - i // 2, 0),
    ],
)
def test_what_falls_is_counted(index, count):
    # A block's region says it once more.
    assert falling_quotients(Schedule(reads(index))) == 2 * count


def test_it_is_not_offered_inlined():
    schedule = Schedule(tvm.IRModule({"main": turned}))
    block = schedule.get_sblock("t")
    offered = offer_at(schedule, block, np.zeros(0, dtype=np.int64)).codes
    assert offered
    assert INLINED not in offered


def test_no_sketch_of_ours_computes_something_else():
    mod = tvm.IRModule({"main": turned})
    for sketch in sketches(mod, host_target()):
        for config in sketch.sample(2, np.random.default_rng(0)):
            assert measure.verify(sketch.schedule(config), mod, host_target()).ok


def test_what_tvm_inlines_in_its_own_space_does_not_pass_verification():
    mod = tvm.IRModule({"main": turned})
    (sketch,) = sketches(mod, host_target(), "post-order-apply")
    (config,) = sketch.sample(1, np.random.default_rng(0))
    assert not measure.verify(sketch.schedule(config), mod, host_target()).ok
