"""Tiles on GPUs end in their epilogue: in one kernel, whatever reads their result twice."""

import shutil

import numpy as np
import pytest
import tvm
from epilogues import clipped_sum, gelu, gelu_tanh, product
from tvm.target import Target

from mschedx.emulator.check import check, reference
from mschedx.space import sketches

A100 = Target("nvidia/nvidia-a100")


@pytest.fixture(autouse=True, scope="module")
def _host_compiler():
    if shutil.which("g++") is None:
        pytest.skip("the emulator compiles kernels with g++, which is not installed")


@pytest.mark.parametrize("dtype", ["float16", "int8", "float32"])
@pytest.mark.parametrize(
    ("epilogue", "others"), [(gelu, 0), (gelu_tanh, 0), (clipped_sum, 1)],
    ids=["gelu", "gelu_tanh", "clipped_sum"],
)  # fmt: skip
def test_a_tile_and_its_epilogue_are_one_kernel(epilogue, others, dtype, tmp_path):
    function = product(epilogue, 64, 64, 32, dtype, others)
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    rng = np.random.default_rng(0)
    expected = reference(mod, rng)
    for sketch in sketches(mod, A100):
        assert ("Tensorize" in sketch.design.signature) == (dtype != "float32")
        (schedule,) = sketch.schedules(sketch.sample(1, rng))
        blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
        outermost = [schedule.get(schedule.get_loops(block)[0]) for block in blocks]
        assert all(loop.same_as(outermost[0]) for loop in outermost)
        checked = check(schedule.mod, A100, expected, tmp_path)
        assert checked.ok, (checked.wrong, checked.execution.faults)
