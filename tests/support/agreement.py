"""Whether the programs of a design space compute what the unscheduled program does."""

import numpy as np
import tvm
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from unoptimised import run_once

from mschedx.space.opening import sketches


def drawn(mod, rng):
    """Arguments of a function, of the standard normal distribution."""
    infos = ArgInfo.from_entry_func(mod)
    return [rng.standard_normal([int(d) for d in i.shape]).astype(i.dtype) for i in infos]


def assert_sketches_agree(function, target, configs, tolerance=1e-4):
    """Compare so many configs of every sketch with the function as it is."""
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    rng = np.random.default_rng(0)
    inputs = drawn(mod, rng)
    expected = run_once(mod, target, inputs)[-1]
    found = sketches(mod, target)
    assert found
    for sketch in found:
        for config in np.unique(sketch.sample(configs, rng), axis=0):
            output = run_once(sketch.schedule(config).mod, target, inputs)[-1]
            np.testing.assert_allclose(output, expected, rtol=tolerance, atol=tolerance)
