"""What cannot be analysed says so, and what is not known is named."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from analysed import TARGETS, designs
from tvm.script import tirx as T

from mschedx.space import sketches
from mschedx.space.analysis.derive.varying_loops import divisibility
from mschedx.space.analysis.read.extract import DynamicExtent, entry, extract
from mschedx.space.analysis.read.probe import replayed
from mschedx.space.errors import UnsupportedTrace


def test_dynamic_extent():
    @T.prim_func(s_tir=True)
    def func(a: T.handle, n: T.int32):
        x = T.match_buffer(a, (n,), "float32")
        for i in range(n):
            with T.sblock("x"):
                v = T.axis.spatial(n, i)
                x[v] = T.float32(1)

    with pytest.raises(DynamicExtent, match="dynamic shapes are not tuned"):
        extract(func)


def test_several_functions():
    func = entry(designs("gemm-small", "cuda")[0].mod)
    mod = tvm.IRModule({"one": func, "two": func})
    with pytest.raises(ValueError, match=r"one called 'main', got \['one', 'two'\]"):
        entry(mod)


def test_nothing_replays():
    design = designs("gemm-small", "cuda")[0]
    configs = np.repeat(design.default_config()[None], 3, axis=0)
    configs[:, design.tables[0].columns[0]] *= 5  # no longer a factorisation
    with pytest.raises(UnsupportedTrace, match="none of 3 configs of this design replays"):
        replayed(design, configs)


def test_unresolved_names_what_is_missing():
    mod = designs("conv2d-grouped", "llvm")[0].mod
    analysis = next(
        sketch.analysis
        for sketch in sketches(mod, TARGETS["llvm"], "post-order-apply")
        if -1 in sketch.design.locations.values()
    )
    # TVM's compaction may fail to see that a group moves as one.
    assert "PadInput/alloc[3]" in analysis.unresolved
    assert all(one.bytes is None for one in analysis.allocations if one.buffer == "PadInput")
    assert not set(analysis.unresolved) & set(analysis.quantities)
    assert all(reason for reason in analysis.unresolved.values())


def test_divisibility_needs_evidence_and_separates():
    configs = np.array([[8, 1, 1], [4, 2, 1], [2, 2, 2], [4, 1, 2], [1, 1, 8], [1, 8, 1]])
    even = configs[:, 1] * configs[:, 2] % 2 == 0
    accepted, refused = configs[even], np.repeat(configs[~even], 8, axis=0)
    (constraint,) = divisibility([(0, 1, 2)], accepted, refused) or []
    np.testing.assert_array_equal(constraint.holds(configs), even)
    assert divisibility([(0, 1, 2)], accepted, refused[:2]) is None
    assert divisibility([(0, 1, 2)], configs, refused) is None
