"""Accesses said by a block's axes."""

import pytest
import tvm
from tvm.s_tir import Schedule
from tvm.script import tirx as T
from tvm.sym import Analyzer

from mschedx.space.rules.block_access import access_of


@T.prim_func(s_tir=True)
def windows(
    x: T.Buffer((4, 10, 8), "float32"),
    w: T.Buffer((3, 8, 8, 1), "float32"),
    y: T.Buffer((4, 8), "float32"),
):
    for n, i, k in T.grid(4, 8, 3):
        with T.sblock("Y"):
            vn, vi, vk = T.axis.remap("SSR", [n, i, k])
            T.reads(x[vn, vi + vk, 0:8], w[vk, vi // 8 + vi, vi, 0])
            T.writes(y[vn, vi])
            with T.init():
                y[vn, vi] = T.float32(0)
            y[vn, vi] = y[vn, vi] + x[vn, vi + vk, 0] * w[vk, vi // 8 + vi, vi, 0]


@pytest.fixture
def accesses():
    sch = Schedule(tvm.IRModule({"main": windows.with_attr("global_symbol", "main")}))
    block = sch.get(sch.get_sblock("Y"))
    axes, analyzer = {iv.var: place for place, iv in enumerate(block.iter_vars)}, Analyzer()
    for iv in block.iter_vars:
        analyzer.bind(iv.var, iv.dom)
    return [access_of(region, axes, analyzer) for region in block.reads]


def test_windows_constants_and_slices_are_no_plain_indices(accesses):
    x, _ = accesses
    assert x.dims == ({0}, {1, 2}, set())
    assert x.plain == (0, None, None)
    assert x.axes == {0, 1, 2}
    assert x.dim_of(0) == 0
    assert x.dim_of(1) is None


def test_an_index_is_read_simplified(accesses):
    """i // 8 is 0 for all 8 points."""
    _, w = accesses
    assert w.plain == (2, 1, 1, None)


def test_an_axis_that_two_dimensions_read_has_none(accesses):
    _, w = accesses
    assert w.dim_of(1) is None
    assert w.dim_of(2) == 0
