"""PackedTile(im2col=True): convolutions as products with their patch matrix."""

import numpy as np
import pytest
import tvm
from spaces import module
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.testing import te_workload
from tvm.target import Target
from unoptimised import run_once, unoptimised

from mschedx import measure
from mschedx.hardware import Hardware, host_target
from mschedx.space.opening import sketches
from mschedx.space.rules.contraction import match_contraction
from mschedx.space.rules.packed_tile import packed_tiles
from mschedx.space.target import for_target
from mschedx.workloads import make

TARGET = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
HARDWARE = Hardware.from_target(TARGET)

CONVOLUTIONS = {
    "whole vectors": ("conv2d", (1, 4, 8, 8, 16, 3, 1, 1)),
    "rows that vectors cross": ("conv2d", (2, 3, 12, 12, 8, 3, 1, 1)),
    "padded pixels": ("conv2d", (1, 3, 7, 7, 8, 3, 1, 1)),
    "large window": ("conv2d", (1, 3, 16, 16, 8, 7, 1, 3)),
    "epilogue": ("conv2d_bias_relu", (1, 4, 7, 7, 16, 3, 1, 1)),
    "conv3d": ("conv3d", (1, 2, 3, 6, 6, 8, 3, 1, 1)),
}


def spaces(op, shape, im2col):
    mod = tvm.IRModule({"main": make(op, shape)})
    sch = Schedule(mod)
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    (block,) = [b for b in blocks if match_contraction(sch.get(b)) is not None]
    return mod, packed_tiles(sch, block, HARDWARE, im2col=im2col)


def run(mod, inputs):
    return run_once(mod, TARGET, inputs)[-1]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_every_sampled_schedule_computes_the_convolution(name):
    mod, designs = spaces(*CONVOLUTIONS[name], im2col=True)
    rng = np.random.default_rng(0)
    shapes = [[int(d) for d in info.shape] for info in ArgInfo.from_entry_func(mod)]
    inputs = [rng.standard_normal(shape, "float32") for shape in shapes]
    expected = run(mod, inputs)
    _, direct = spaces(*CONVOLUTIONS[name], im2col=False)
    assert len(designs) == len(direct) + 1
    for sketch in sketches(mod, TARGET, designs[-1:]):
        for config in sketch.sample(3, rng):
            result = run(sketch.schedule(config).mod, inputs)
            np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


def test_what_has_no_window_or_steps_or_ends_in_channels_gets_no_patches():
    for op, shape in (
        ("conv2d", (1, 3, 16, 16, 8, 7, 2, 3)),
        ("conv2d", (1, 8, 8, 8, 16, 1, 2)),
        ("conv2d", (1, 8, 8, 8, 16, 1)),
        ("conv2d_nhwc", (1, 8, 8, 8, 16, 3, 1, 1)),
        ("gemm", (32, 32, 32)),
    ):
        _, direct = spaces(op, shape, im2col=False)
        _, offered = spaces(op, shape, im2col=True)
        assert len(direct) == len(offered) > 0


def test_windows_along_a_diagonal_keep_their_other_designs():
    """Of ``X[c, h + r, h + s]`` no row holds the windows: there is no matrix of patches."""
    x, w = te.placeholder((4, 18, 18), name="X"), te.placeholder((16, 4, 3, 3), name="W")
    c, r, s = (te.reduce_axis((0, n), "crs"[i]) for i, n in enumerate((4, 3, 3)))
    diagonal = te.compute(
        (16, 16), lambda o, h: te.sum(x[c, h + r, h + s] * w[o, c, r, s], [c, r, s]), name="C"
    )
    sch = Schedule(module([x, w, diagonal]))
    block = sch.get_sblock("C")
    direct = packed_tiles(sch, block, HARDWARE, im2col=False)
    assert len(packed_tiles(sch, block, HARDWARE)) == len(direct) > 0


def test_patches_are_gathered_by_panels_in_each_task():
    _, designs = spaces(*CONVOLUTIONS["whole vectors"], im2col=True)
    design = designs[-1]
    blocks = design.get_child_blocks(design.get_sblock("root"))
    (copy,) = [b for b in blocks if design.get(b).name_hint.endswith("reindex_reindex")]
    # Task, panel, then [n, c, r, s, p0, p1].
    assert len(design.get_loops(copy)) == 8


def test_the_space_of_a_target_has_both_forms():
    op, shape = CONVOLUTIONS["whole vectors"]
    mod = tvm.IRModule({"main": make(op, shape)})
    both = sketches(mod, TARGET, for_target(TARGET))
    direct = sketches(mod, TARGET, for_target(TARGET, im2col=False))
    assert len(both) == len(direct) + 1 > 1


def test_groups_of_pixels_that_are_one_channel_have_no_patches(caplog):
    """``v // 16 * 16 + r`` is no multiple of ``v``: 1 x 1 in groups, channels last.

    Four stagings with the groups as an axis, and one that copies nothing.
    """
    mod = module(te_workload.conv2d_nhwc(1, 56, 56, 64, 64, 1, 1, 0, 1, 4))
    found = sketches(mod, host_target())
    assert len(found) == 5
    assert "does not fit" not in caplog.text
    for sketch in found:
        (config,) = sketch.sample(1, np.random.default_rng(0))
        assert measure.verify(sketch.schedule(config), mod, unoptimised(host_target())).ok


def test_a_sum_of_two_convolutions_lies_beside_their_tiles(caplog):
    """TVM moves no block into the tile of one of two that it reads."""
    x = te.placeholder((1, 4, 9, 9), name="X")
    v, w = (te.placeholder((16, 4, 3, 3), name=name) for name in "VW")

    def convolution(weights, name):
        c, r, s = (te.reduce_axis((0, n), "crs"[i]) for i, n in enumerate((4, 3, 3)))
        return te.compute(
            (1, 16, 7, 7),
            lambda n, o, h, u: te.sum(x[n, c, h + r, u + s] * weights[o, c, r, s], [c, r, s]),
            name=name,
        )

    one, other = convolution(v, "P"), convolution(w, "Q")
    both = te.compute(one.shape, lambda *i: one(*i) + other(*i), name="Y")
    mod = module([x, v, w, both])
    sch = Schedule(mod)
    for name in "PQ":
        assert len(packed_tiles(sch, sch.get_sblock(name), HARDWARE)) == 3
    for sketch in sketches(mod, TARGET):
        for config in sketch.sample(2, np.random.default_rng(0)):
            assert measure.verify(sketch.schedule(config), mod, unoptimised(TARGET)).ok
    assert "does not fit" not in caplog.text
