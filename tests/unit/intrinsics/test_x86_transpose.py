"""Transposing copies: they move every element to its place and are shuffles, not gathers."""

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.target import Target

from mschedx.hardware import host_target
from mschedx.intrinsics.x86_transpose import TRANSPOSES, find_transpose


def pack(lanes, rows, run, window, target):
    """A matrix [rows, run, window...] as panels [rows/lanes, run, window..., lanes]."""
    matrix = te.placeholder((rows, run, *window), "float32", "M")
    panels = te.compute(
        (rows // lanes, lanes, run, *window),
        lambda panel, lane, *column: matrix[(panel * lanes + lane, *column)],
        name="P",
    )
    sch = Schedule(te.create_prim_func([matrix, panels]))
    block = sch.get_sblock("P")
    sch.transform_layout(block, ("write", 0), lambda p, lane, *column: [p, *column, lane])
    _, lane, across, *along = sch.get_loops(block)
    transpose = find_transpose(lanes, run, window)
    outer, inner = sch.split(across, [None, transpose.run])
    unit = [loop for loop, extent in zip(along, window, strict=True) if extent == 1]
    wide = [loop for loop, extent in zip(along, window, strict=True) if extent > 1]
    sch.reorder(*unit, outer, inner, *wide, lane)
    sch.tensorize(inner, transpose.name)
    return tvm.compile(sch.mod, target=target)


@pytest.mark.parametrize(
    ("lanes", "run", "window"),
    [(16, 32, ()), (16, 24, ()), (8, 16, ()), (8, 8, ()), (16, 16, (3, 3)), (16, 8, (1, 1)),
     (8, 24, (3,)), (16, 8, (3, 3, 3)), (8, 16, (1, 3))],
)  # fmt: skip
def test_every_element_arrives(lanes, run, window):
    rows = 2 * lanes
    matrix = np.arange(rows * run * np.prod(window, dtype=int), dtype="float32")
    matrix = matrix.reshape(rows, run, *window)
    expected = np.moveaxis(matrix.reshape(2, lanes, run, *window), 1, -1)
    out = tvm.runtime.tensor(np.zeros(expected.shape, "float32"))
    pack(lanes, rows, run, window, host_target())["main"](tvm.runtime.tensor(matrix), out)
    np.testing.assert_array_equal(out.numpy(), expected)


@pytest.mark.parametrize(("mcpu", "lanes"), [("haswell", 8), ("cascadelake", 16)])
def test_it_compiles_to_shuffles_without_gathers(mcpu, lanes):
    target = Target({"kind": "llvm", "mcpu": mcpu, "num-cores": 1})
    assembly = pack(lanes, lanes, 16, (), target).mod.inspect_source("s")
    assert "vgather" not in assembly
    assert "vscatter" not in assembly
    assert assembly.count("vunpck") + assembly.count("vperm") + assembly.count("vshuf") >= lanes


def test_only_whole_blocks_are_found():
    assert find_transpose(16, 32, ()).run == 16
    assert find_transpose(16, 24, (3, 3)).run == 8
    assert find_transpose(16, 12, ()) is None
    assert find_transpose(4, 16, ()) is None
    assert find_transpose(16, 16, (9, 9)) is None
    assert len({transpose.name for transpose in TRANSPOSES}) == len(TRANSPOSES)
