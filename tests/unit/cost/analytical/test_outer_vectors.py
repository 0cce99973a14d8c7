"""Loops around unrolled code that LLVM gathers, on statements of TVM's space for a processor."""

import numpy as np
import pytest
import tvm

from mschedx import workloads
from mschedx.cost.analytical.cpu_tile import tile_of
from mschedx.cost.analytical.outer_vectors import takes_outer
from mschedx.cost.analytical.view import ProgramView
from mschedx.space import sketches

AVX512 = 16.0
"""Lanes of 32 bits."""


@pytest.fixture(scope="module")
def int8():
    """A product of bytes without a copy of its result: a block of 16 columns by 4 steps inside."""
    target = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
    mod = workloads.make("gemm", (64, 64, 64), "int8")
    found = sketches(mod, target, "post-order-apply")
    return next(s for s in found if not any("global" in one.name for one in s.statements))


def at(sketch, *, rows, steps, unroll):
    """The product where a tile is so many rows, and so many blocks of four steps follow."""
    names = {"C_o.i0.3": rows, "C_o.i1_0.3": 1, "C_o.k_0.1": steps, "unroll": unroll}
    config = sketch.fix(names).sample(1, np.random.default_rng(0))
    program = ProgramView(sketch.statements, sketch.analysis.allocations)(config)
    return next(view for view in program.statements if view.statement.is_reduction)


def lanes(view, width=AVX512):
    """Lanes, and the role of the loop that they are iterations of."""
    tile = tile_of(view, width)
    (position,) = np.flatnonzero(tile.lane_loops[:, 0])
    return tile.lanes[0], view.statement.loops[position].role, tile.stride(view.writes[0])[0]


@pytest.mark.parametrize("unroll", [0, 16])
def test_a_block_that_stays_loops_is_vectors_of_its_columns(int8, unroll):
    assert lanes(at(int8, rows=16, steps=4, unroll=unroll)) == (16, "spatial", 1)


@pytest.mark.parametrize("rows", [4, 16])
def test_rows_around_a_block_that_tvm_has_unrolled_are_gathered(int8, rows):
    assert lanes(at(int8, rows=rows, steps=4, unroll=64)) == (rows, "spatial", 64)


def test_few_rows_of_which_some_are_left_over_are_not(int8):
    view = at(int8, rows=2, steps=2, unroll=64)
    assert lanes(view) == (16, "spatial", 1)


def test_neither_are_they_without_avx512(int8):
    view = at(int8, rows=16, steps=4, unroll=64)
    assert lanes(view, AVX512 / 2)[2] == 1


def test_steps_of_integers_are_lanes_where_arithmetic_outweighs_the_bytes_that_are_gathered(int8):
    assert lanes(at(int8, rows=4, steps=16, unroll=512)) == (16, "reduction", 0)
    assert lanes(at(int8, rows=1, steps=16, unroll=64)) == (16, "spatial", 1)


def test_steps_of_floats_are_not_lanes():
    target = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})
    (sketch, *_) = sketches(workloads.make("gemm", (64, 64, 64)), target, "post-order-apply")
    fixed = sketch.fix({"C.i0.3": 16, "C.i1.3": 1, "C.k.1": 32, "unroll": 16})
    config = fixed.sample(1, np.random.default_rng(0))
    program = ProgramView(sketch.statements, sketch.analysis.allocations)(config)
    view = next(view for view in program.statements if view.statement.is_reduction)
    steps = [i for i, loop in enumerate(view.statement.loops) if loop.role == "reduction"]
    assert not takes_outer(view, steps[-1], np.full(1, 64.0), AVX512).any()
