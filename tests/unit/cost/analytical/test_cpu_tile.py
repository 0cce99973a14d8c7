"""What TVM unrolls, what becomes lanes and what LLVM unrolls, each on nests written by hand."""

import numpy as np
import pytest

from mschedx.cost.analytical.cpu_tile import llvm_unrolls, loops_in_lanes, tile_of, tvm_unrolls
from mschedx.cost.analytical.view import AccessView, StatementView
from mschedx.space.statements import BufferAccess, LoopLevel, Statement

AVX512 = 16.0
"""Lanes of 32 bits."""


def nest(*loops, strides, unroll=0, kinds=None, intrinsic=""):
    """``y = f(x)``, element by element, below loops of these extents, the outermost first.

    Both move by ``strides``; kinds that are not given are serial.
    """
    kinds = kinds or ["serial"] * len(loops)
    accesses = []
    for buffer, is_write in (("x", False), ("y", True)):
        access = BufferAccess(buffer, "global", "float32", is_write, 4, (), (), ())
        each = np.array([*np.cumprod(loops[::-1])[::-1], 1.0])[:, None]
        moves = np.array(strides, dtype=np.float64)[:, None]
        accesses.append(AccessView(access, each, each, moves, np.full(1, np.inf)))
    levels = tuple(LoopLevel(f"l{p}", None, kind, "spatial") for p, kind in enumerate(kinds))
    statement = Statement(
        name="y",
        loops=levels,
        accesses=tuple(view.access for view in accesses),
        operations={"float.mul": 20},
        intrinsic=intrinsic,
        lanes=None,
        unroll=None,
        kernel=0,
        is_init=False,
        is_reduction=False,
        predicated=False,
    )
    extents = np.array(loops, dtype=np.float64)[:, None]
    limit = np.full(1, float(unroll))
    return StatementView(statement, extents, np.ones(1), limit, np.zeros(1), tuple(accesses))


def passes(view):
    by_tvm, inside = tvm_unrolls(view)
    lane_loops, outer = loops_in_lanes(view, by_tvm, inside, AVX512)
    return by_tvm[:, 0], lane_loops[:, 0], outer[:, 0]


@pytest.mark.parametrize(
    ("unroll", "expected"),
    [(0, [0, 0, 0]), (2, [0, 0, 1]), (127, [0, 0, 1]), (128, [0, 1, 1]), (12800, [1, 1, 1])],
)
def test_tvm_unrolls_what_has_few_statements(unroll, expected):
    by_tvm, inside = tvm_unrolls(nest(100, 64, 2, strides=[128, 1, 64], unroll=unroll))
    assert by_tvm[:, 0].tolist() == expected
    assert inside[:, 0].tolist() == [128, 2, 1]


def test_tvm_unrolls_what_the_schedule_says_and_loops_of_one_iteration():
    view = nest(100, 64, 1, strides=[64, 1, 1], kinds=["unrolled", "serial", "serial"])
    assert tvm_unrolls(view)[0][:, 0].tolist() == [True, False, True]


def test_the_schedules_lanes_are_none_of_tvms_statements():
    view = nest(4, 64, strides=[64, 1], unroll=4, kinds=["serial", "vectorized"])
    by_tvm, inside = tvm_unrolls(view)
    assert by_tvm.all()
    assert inside[:, 0].tolist() == [1, 1]
    assert passes(view)[1].tolist() == [False, True]


def test_llvm_joins_neighbours_around_what_is_unrolled():
    assert passes(nest(100, 64, 2, strides=[128, 1, 64]))[1].tolist() == [False, True, False]
    assert not passes(nest(100, 64, 2, strides=[256, 64, 128]))[1].any(), "none are neighbours"


@pytest.mark.parametrize("kind", ["parallel", "serial"])
def test_a_loop_that_stays_one_keeps_lanes_inside(kind):
    view = nest(64, 100, strides=[1, 64], kinds=[kind, "serial"])
    assert not passes(view)[1].any()


def test_the_loop_around_all_that_tvm_has_unrolled_comes_before_neighbours_inside():
    loops, strides = (100, 16, 16), [256, 16, 1]
    by_tvm, lane_loops, outer = passes(nest(*loops, strides=strides, unroll=16))
    assert by_tvm.tolist() == [False, False, True]
    assert lane_loops.tolist() == outer.tolist() == [False, True, False]
    assert passes(nest(*loops, strides=strides))[1].tolist() == [False, False, True]


def test_a_call_of_an_intrinsic_has_no_lanes_to_find():
    view = nest(8, 16, strides=[16, 1], kinds=["serial", "intrinsic"], intrinsic="some")
    assert not passes(view)[1].any()


@pytest.mark.parametrize(
    ("width", "expected"), [(64, [0, 1, 1]), (256, [0, 1, 1]), (272, [0, 0, 1])]
)
def test_llvm_unrolls_up_to_32_bodies(width, expected):
    view = nest(100, width, 2, strides=[2 * width, 1, width])
    tile = tile_of(view, AVX512)
    assert tile.unrolled[:, 0].tolist() == expected
    assert tile.lanes.tolist() == [width]
    assert tile.bodies.tolist() == [2 * width / 16 if expected[1] else 2]


def test_a_loop_of_gathers_is_not_unrolled_whatever_is_around_it():
    view = nest(2, 16, 16, strides=[256, 16, 1], unroll=16)
    by_tvm, inside = tvm_unrolls(view)
    lane_loops, outer = loops_in_lanes(view, by_tvm, inside, AVX512)
    assert llvm_unrolls(view, inside, lane_loops, outer, AVX512)[:, 0].tolist() == [0, 0, 1]
    assert llvm_unrolls(view, inside, lane_loops, outer & False, AVX512)[:, 0].tolist() == [1, 1, 1]
