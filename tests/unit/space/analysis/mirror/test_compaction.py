"""Allocations that TVM makes larger than what is touched, against lowered programs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from analysed import analysed, designs, satisfying
from hypothesis import given, settings
from hypothesis import strategies as st

from mschedx.space.analysis.mirror import compaction
from mschedx.space.analysis.mirror.memory import is_shared
from mschedx.space.analysis.read.lowered import lower

ROWS = np.array([(a, b, 32 // a // b) for a in (1, 2, 4, 8) for b in (1, 2, 4)], dtype=np.int64)
PLANE = SimpleNamespace(
    tables=(
        SimpleNamespace(columns=(0, 1, 2), rows=ROWS),
        SimpleNamespace(columns=(3, 4, 5), rows=ROWS),
    )
)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, len(ROWS) ** 2 - 1), min_size=1, max_size=60))
def test_limits_enclose_every_bad_config(chosen):
    """Whatever configs are bad, the limits hold for all of them: the size never is too small."""
    count = len(ROWS)
    every = np.array([[*ROWS[i], *ROWS[j]] for i in range(count) for j in range(count)])
    bad = np.isin(np.arange(len(every)), list(chosen))
    limits = compaction._limits(PLANE, every[bad], every[~bad])
    assert limits
    assert all(limit.holds(every[bad]).all() for limit in limits)
    size = compaction._within(limits, 99, compaction.monomial(1, {1: 1}))
    assert (size(every[bad]) == 99).all()
    inside = np.all([limit.holds(every) for limit in limits], axis=0)
    np.testing.assert_array_equal(size(every), np.where(inside, 99, every[:, 1]))


@pytest.mark.parametrize("index", [0, 1])
def test_shared_buffers_of_grouped_convolution_are_never_larger_than_said(index):
    """Shapes read off lowered programs stay within the analysis, and equal what it is sure of."""
    design = designs("conv2d-grouped", "cuda")[index]
    analysis = analysed("conv2d-grouped", "cuda", index)
    shared = [one for one in analysis.allocations if is_shared(one.scope)]
    assert shared
    compared = 0
    for config in satisfying(design, analysis, 15):
        shapes = lower(design.materialize(config)).allocations
        for one in shared:
            for expression, extent in zip(one.shape, shapes[one.buffer.replace(".", "_")]):
                if expression is not None:
                    assert expression(config[None])[0] == extent, (one.buffer, config)
                    compared += 1
    assert compared >= 20


def test_only_buffers_whose_access_mixes_a_real_quotient_are_doubtful():
    """Groups divide a channel tile; with one group the quotient is always 0."""
    for index in (1, 2):
        analysis = analysed("conv2d-grouped", "llvm", index)
        known = {one.buffer for one in analysis.allocations if one.bytes is not None}
        padded = {one.buffer for one in analysis.allocations if one.buffer == "PadInput"}
        assert not padded & known
        assert {f"{name}/alloc_bytes" for name in padded} <= set(analysis.unresolved)
    for index in range(len(designs("conv2d", "llvm"))):
        assert all(one.bytes is not None for one in analysed("conv2d", "llvm", index).allocations)
