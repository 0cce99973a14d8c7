"""Allocations that TVM makes larger than what is touched, against lowered programs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from analysed import analysed, designs, satisfying
from hypothesis import given, settings
from hypothesis import strategies as st

from mschedx.space.algebra.expression import constant
from mschedx.space.analysis.mirror import compaction
from mschedx.space.analysis.mirror.memory import is_shared
from mschedx.space.analysis.model import AllocationInfo
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


EVERY = np.array([[*one, *other] for one in ROWS for other in ROWS])


class Lowered:
    """Lowers any config; a dimension [n] is 99 where it is ``bad``, x1 elsewhere."""

    design = PLANE

    def __init__(self, *bad):
        self.bad, self.seen = bad, []

    def of(self, buffer, configs):
        shapes = [np.where(bad(configs), 99, configs[:, 1]) for bad in self.bad]
        self.seen.append(compaction._Seen(configs, np.stack(shapes, axis=1)))
        return self.seen[-1]


def at(x0, x3):
    return lambda configs: (configs[:, 0] == x0) & (configs[:, 3] == x3)


@pytest.mark.parametrize(
    ("bad", "rounds"),
    [
        ([lambda configs: at(8, 8)(configs) | at(4, 8)(configs)], 1),
        ([at(4, 8), at(8, 8)], 3),
    ],
    ids=["by the last replays", "by those made for another dimension"],
)
def test_a_size_that_replays_contradict_is_corrected_and_no_longer_sure(monkeypatch, bad, rounds):
    monkeypatch.setattr(compaction, "_ROUNDS", rounds)
    drawn = EVERY[np.argsort(~at(4, 8)(EVERY), kind="stable")]
    monkeypatch.setattr(compaction, "random_configs", lambda design, n, rng: drawn)
    expected = compaction.monomial(1, {1: 1})
    shape = (expected,) * len(bad)
    one = AllocationInfo("X", "shared", "float32", 0, shape, constant(1), expected)
    first = EVERY[~at(4, 8)(EVERY)]
    lowered = Lowered(*bad)
    found, exact = compaction._shape(lowered, one, first, np.random.default_rng(0))
    assert any(at(4, 8)(seen.configs).any() for seen in lowered.seen)
    assert not exact
    for seen in lowered.seen:
        for d, size in enumerate(found):
            assert (size(seen.configs) >= seen.shapes[:, d]).all()
