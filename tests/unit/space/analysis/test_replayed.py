"""What has no expression is read off replays, and equals what an expression would have said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analysed import analysed, designs, draws

from mschedx.space.analysis.replayed import replayed_quantities
from mschedx.space.sketch import Sketch


def blinded(analysis):
    """The analysis without its loops' extents, regions and shapes."""
    return replace(
        analysis,
        loops=tuple(replace(loop, extent=None) for loop in analysis.loops),
        accesses=tuple(
            replace(a, regions=tuple((None,) * len(levels) for levels in a.regions))
            for a in analysis.accesses
        ),
        allocations=tuple(
            replace(one, shape=(None,) * len(one.shape)) for one in analysis.allocations
        ),
        unresolved={"all": "left out by the test"},
    )


@pytest.mark.parametrize(("workload", "target"), [("gemm", "llvm"), ("gemm", "cuda")])
def test_replays_know_what_expressions_know(workload, target):
    design, analysis = designs(workload, target)[0], analysed(workload, target, 0)
    configs = draws(design, 5)
    found = replayed_quantities(design, blinded(analysis), configs)
    for loop in analysis.loops:
        np.testing.assert_array_equal(found[loop.name], loop.extent(configs))
    compared = 0
    for access in analysis.accesses:
        kind = "write" if access.is_write else "read"
        for d, levels in enumerate(access.regions):
            name = f"{access.block}/{access.buffer}.{kind}[{d}]@body"
            np.testing.assert_array_equal(found[name], levels[-1](configs))
            compared += 1
    assert compared > 5
    for one in analysis.allocations:
        for d, extent in enumerate(one.shape):
            np.testing.assert_array_equal(found[f"{one.buffer}/alloc[{d}]"], extent(configs))


def test_sketch_adds_them_when_asked():
    design, analysis = designs("gemm", "llvm")[0], analysed("gemm", "llvm", 0)
    configs = draws(design, 3)
    blind = Sketch(design, blinded(analysis))
    extra = blind.extents(configs, replay=True).keys() - blind.extents(configs).keys()
    assert any(name.endswith("@body") for name in extra)
    whole = Sketch(design, analysis)
    assert whole.extents(configs, replay=True).keys() == whole.extents(configs).keys()


def test_configs_that_do_not_replay_are_marked():
    design, analysis = designs("gemm", "llvm")[0], analysed("gemm", "llvm", 0)
    broken = draws(design, 2)
    tile = next(t for t in design.tables if len(t.columns) > 1)
    broken[0, list(tile.columns)] = 7  # no product of these is the loop's extent
    found = replayed_quantities(design, blinded(analysis), broken)
    values = found[analysis.loops[0].name]
    assert values[0] == -1
    assert values[1] == analysis.loops[0].extent(broken)[1]
