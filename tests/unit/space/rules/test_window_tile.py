"""Windows: which stages are some, how their columns may run, and that all compute the same."""

import pytest
import tvm
from agreement import assert_sketches_agree
from tvm import te, tirx, topi
from tvm.s_tir import Schedule
from tvm.target import Target
from tvm.tirx import ForKind

from mschedx import workloads
from mschedx.hardware import Hardware
from mschedx.space.rules.stages import stages_of
from mschedx.space.rules.window_tile import Columns, is_window, offers, tile_window

TARGET = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
HARDWARE = Hardware.from_target(TARGET)
RELU = tirx.const(0.0, "float32")


def image(*shape):
    return te.placeholder(shape, "float32", "X")


def depthwise(channels, size, kernel, stride, pad):
    shape = (1, channels, size, size, kernel, stride, pad)
    return workloads.make("depthwise_conv2d", shape)


def pool(shape, kind, kernel, stride, pad, layout="NCHW"):
    x = image(*shape)
    pads = (pad,) * 4
    return te.create_prim_func(
        [x, topi.nn.pool2d(x, (kernel,) * 2, (stride,) * 2, (1, 1), pads, kind, layout=layout)]
    )


def pool_along(axes, shape, kernel):
    """Sums over neighbours along the last axes, without padding."""
    x = image(*shape)
    inner = [te.reduce_axis((0, kernel), f"r{axis}") for axis in range(axes)]
    kept = len(shape) - axes
    out = (*shape[:kept], *(size - kernel + 1 for size in shape[kept:]))

    def element(*index):
        moved = (i + r for i, r in zip(index[kept:], inner))
        return te.sum(x[(*index[:kept], *moved)], axis=inner)

    return te.create_prim_func([x, te.compute(out, element, name="sums")])


def relu6(value):
    return te.min(value, tirx.const(6.0, "float32"))


def prepared(channels, size, behind=relu6):
    """What is computed before the padding, and behind the window."""
    x = image(1, size, size, channels)
    f = te.placeholder((3, 3, channels), "float32", "F")
    positive = te.compute(x.shape, lambda *i: te.max(x[i], RELU), name="before")
    p = topi.nn.pad(positive, (0, 1, 1, 0), (0, 1, 1, 0), name="pad")
    a, b = te.reduce_axis((0, 3), "a"), te.reduce_axis((0, 3), "b")
    y = te.compute(
        x.shape,
        lambda n, i, j, c: te.sum(p[n, i + a, j + b, c] * f[a, b, c], axis=[a, b]),
        name="filter",
    )
    z = te.compute(y.shape, lambda *i: behind(y[i]), name="behind")
    return te.create_prim_func([x, f, z])


def multiplied(channels, times, size):
    """Two filters for each channel."""
    x = image(1, channels, size, size)
    f = te.placeholder((channels, times, 3, 3), "float32", "F")
    return te.create_prim_func([x, f, topi.nn.depthwise_conv2d_nchw(x, f, 1, 1, 1)])


def trailing(size, channels):
    """Weights whose last dimension is 1 long lie as if they did not have it."""
    x, f = image(1, size, size, channels), te.placeholder((3, 3, channels, 1), "float32", "F")
    return te.create_prim_func([x, f, topi.nn.depthwise_conv2d_nhwc(x, f, 1, 1, 1)])


WINDOWS = {
    "whole-vectors": depthwise(3, 16, 3, 1, 1),
    "odd-columns": depthwise(4, 14, 3, 1, 1),
    "seven-columns": depthwise(5, 7, 3, 1, 1),
    "prime-columns": depthwise(2, 13, 3, 1, 1),
    "strided": depthwise(3, 28, 3, 2, 1),
    "strided-without-padding": depthwise(3, 13, 3, 2, 0),
    "five-by-five": depthwise(2, 10, 5, 1, 2),
    "one-channel": depthwise(1, 12, 3, 1, 1),
    "max-pool": pool((1, 3, 12, 12), "max", 3, 2, 1),
    "average-pool": pool((2, 3, 9, 9), "avg", 3, 1, 1),
    "max-pool-channels-last": pool((1, 9, 9, 16), "max", 2, 2, 0, "NHWC"),
    "one-dimension": pool_along(1, (3, 5, 18), 3),
    "three-dimensions": pool_along(3, (2, 6, 7, 10), 2),
    "prepared": prepared(16, 6),
    "a-function-behind": prepared(16, 6, te.sigmoid),
    "multiplied": multiplied(3, 2, 8),
    "trailing": trailing(6, 24),
}


def opened(function):
    sch = Schedule(tvm.IRModule({"main": function}))
    stages = stages_of(sch)
    assert stages is not None
    return sch, stages


@pytest.mark.parametrize("name", WINDOWS)
def test_every_sketch_computes_the_same(name):
    assert_sketches_agree(WINDOWS[name], TARGET, configs=4)


def test_windows_are_short_and_slide():
    assert all(is_window(opened(function)[1]) for function in WINDOWS.values())
    others = {
        "softmax": workloads.make("softmax", (8, 16)),
        "mean": workloads.make("mean", (8, 16)),
        "a window of 100 points": pool_along(2, (2, 24, 24), 10),
        "a single row": pool_along(1, (1, 18), 3),
        "nothing reduced": te.create_prim_func([x := image(8, 8), topi.nn.relu(x)]),
    }
    for name, function in others.items():
        assert not is_window(opened(function)[1]), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whole-vectors", [Columns()]),
        ("odd-columns", [Columns(), Columns(lanes=14)]),
        ("seven-columns", [Columns(), Columns(lanes=7)]),
        ("prime-columns", [Columns(), Columns(lanes=13)]),
        ("strided", [Columns(), Columns(lanes=14), Columns(inline=True)]),
        ("strided-without-padding", [Columns(), Columns(lanes=6)]),
        ("max-pool-channels-last", [Columns()]),
    ],
)
def test_columns_run_in_the_ways_that_may_pay(name, expected):
    assert offers(*opened(WINDOWS[name]), HARDWARE) == expected


def kinds_around(sch, name):
    """Of every loop around a block, outermost first: what it is, and how long."""
    loops = (sch.get(loop) for loop in sch.get_loops(sch.get_sblock(name)))
    return [(int(loop.kind), loop.extent) for loop in loops]


@pytest.mark.parametrize("name", ["odd-columns", "whole-vectors", "prepared"])
def test_a_tile_is_straight_code(name):
    """The window of a tile has no loop left, and its sums are begun in front of it."""
    sch, stages = opened(WINDOWS[name])
    tile_window(sch, stages, HARDWARE)
    block = "filter" if name == "prepared" else "depthwise_conv2d"
    kinds = [kind for kind, _ in kinds_around(sch, f"{block}_update")]
    inside = kinds[len(kinds) - kinds[::-1].index(ForKind.SERIAL) :]
    assert len(inside) >= 4
    assert set(inside) <= {ForKind.UNROLLED, ForKind.VECTORIZED}
    assert kinds[0] == ForKind.PARALLEL


def test_padding_is_read_where_it_is_needed_if_lanes_agree_about_it():
    for name, left in {"prepared": False, "odd-columns": True}.items():
        sch, stages = opened(WINDOWS[name])
        tile_window(sch, stages, HARDWARE)
        root = next(iter(sch.mod.functions.values())).body.block.name_hint
        names = {str(sch.get(b).name_hint) for b in sch.get_child_blocks(sch.get_sblock(root))}
        assert any("pad" in one for one in names) == left, name


def test_rows_make_up_for_channels_that_are_few():
    """One image of one channel has work for every core."""
    sch, stages = opened(WINDOWS["one-channel"])
    tile_window(sch, stages, HARDWARE)
    assert any(decision[0] > 1 for decision in sch.trace.decisions.values())
