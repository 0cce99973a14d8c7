"""Cycles of a core against what was measured: registers."""

from __future__ import annotations

import numpy as np
import tvm

from mschedx import workloads
from mschedx.cost.psa import PSAModel
from mschedx.space import sketches

CPU = tvm.target.Target({"kind": "llvm", "mcpu": "znver4", "num-cores": 2})


def test_a_window_unrolled_around_many_sums_spills():
    """128 × 56 × 56 → 96, 3 × 3: 9.7 against 3.4 ms, measured on a Zen 4.

    Both have 28 or 14 sums in registers. The first also unrolls the window along the row: what its
    four columns read is read again by the next step, and kept.
    """
    sketch = sketches(workloads.make("conv2d", (1, 128, 56, 56, 96, 3, 1, 1), "float32"), CPU)[2]
    ones = dict.fromkeys(sketch.names, 1)
    outer = {"rh.0": 3, "o_0.0": 6, "j.0": 2, "j.1": 7, "rc.0": 8, "rc.1": 16, "i.1": 8, "i.2": 7}
    spilling = {**outer, "j.2": 4, "rw.1": 3}
    same_sums = {**outer, "j.2": 4, "rw.0": 3}
    half_the_sums = {**outer, "j.2": 2, "j.1": 14, "rw.1": 3}
    configs = [
        [{**ones, **{f"conv2d.{name}": value for name, value in one.items()}}[n] for n in ones]
        for one in (spilling, same_sums, half_the_sums)
    ]
    assert sketch.is_valid(np.array(configs)).all()
    spilt, outside, fewer = PSAModel().latency_s(None, sketch, np.array(configs))
    assert spilt > 1.5 * fewer
    assert spilt > 1.5 * outside
