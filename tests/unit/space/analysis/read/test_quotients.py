"""Whether tiles are aligned to the quotients of accesses."""

import numpy as np
import pytest
import tvm
from analysed import TARGETS
from tvm import te

from mschedx.space import sketches
from mschedx.space.analysis.read.affine import Affine, Division
from mschedx.space.analysis.read.probe import corner_configs, replayed
from mschedx.space.analysis.read.program import Access, Block, Loop, Program
from mschedx.space.analysis.read.quotients import divides, misaligned


def program(outer, inner, *, start=0, divisor=8, stride=None):
    """``x[(start + i) // divisor]`` where i is tiled: outer loops of ``inner`` steps each."""
    loops = (Loop("b/o", "serial", "", outer, -1, ()), Loop("b/i", "serial", "", inner, 0, ()))
    stride = inner if stride is None else stride
    binding = Affine(0, ((0, stride), (1, 1)))
    quotient = Affine(0, ((Division(Affine(start, ((0, 1),)), divisor, False), 1),))
    access = Access("x", False, (None,), (quotient,), (1,))
    block = Block(
        "b",
        (0, 1),
        (("i", "spatial", outer * inner),),
        (binding,),
        (access,),
        (),
        (),
        True,
        False,
        0,
    )
    return Program(loops, (block,), ())


def test_tiles_of_one_multiple_and_parts_of_one_are_aligned():
    assert not misaligned([program(4, 8), program(8, 8), program(2, 8)])
    assert not misaligned([program(8, 4, stride=8), program(2, 4, stride=16)])
    assert not misaligned([program(1, 4), program(1, 8)])


@pytest.mark.parametrize("odd", [program(16, 4), program(4, 8, start=1), program(8, 12)])
def test_one_tile_that_begins_within_a_multiple_tells(odd):
    assert misaligned([program(8, 8), odd])


def test_a_quotient_that_no_decision_changes_is_no_matter_of_tiles():
    same = program(1, 64)
    assert divides(same)
    assert not misaligned([same, same])


def test_what_is_not_affine_in_loops_is_not_taken_to_be_aligned():
    whole = program(8, 8)
    (block,) = whole.blocks
    opaque = Block(
        block.name, block.loops, block.iters, (None,), block.accesses, (), (), True, False, 0
    )
    assert misaligned([Program(whole.loops, (opaque,), ())])


def corners_of(func):
    mod = tvm.IRModule({"main": func})
    for sketch in sketches(mod, TARGETS["llvm"]):
        yield replayed(sketch.design, corner_configs(sketch.design)).programs


def test_lanes_of_packed_panels_are_aligned():
    """Weights laid out in blocks of as many columns as a vector has lanes."""
    a, b = te.placeholder((64, 64), name="A"), te.placeholder((64, 64), name="B")
    k = te.reduce_axis((0, 64), name="k")
    c = te.compute((64, 64), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    func = te.create_prim_func([a, b, c]).with_attr("layout_free_buffers", [1])
    for programs in corners_of(func):
        assert divides(programs[0], really=True)
        assert not misaligned(programs)


def test_tiles_of_a_strided_read_are_not():
    x = te.placeholder((64, 36), name="X")
    k = te.reduce_axis((0, 64), name="k")
    w = te.placeholder((64, 64), name="W")
    y = te.compute((64, 64), lambda i, j: te.sum(x[k, (i + 1) // 2] * w[k, j], axis=k), name="Y")
    assert any(misaligned(programs) for programs in corners_of(te.create_prim_func([x, w, y])))
    assert np.all([divides(p[0], really=True) for p in corners_of(te.create_prim_func([x, w, y]))])
