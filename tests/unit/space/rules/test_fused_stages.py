"""FusedStages: few sketches, and every one computes what the unscheduled program computes."""

import numpy as np
import pytest
import tvm
from agreement import assert_sketches_agree
from tvm import te, tirx, topi
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.script import tirx as T
from tvm.target import Target
from tvm.tirx import ForKind
from unoptimised import run_once

from mschedx import workloads
from mschedx.hardware import Hardware
from mschedx.space.opening import sketches
from mschedx.space.rules.fused_stages import fused_spaces
from mschedx.space.rules.ragged_rows import factors
from mschedx.space.rules.stages import common_rows, stage_of, stages_of, windowed_axes
from mschedx.space.rules.streamed_reduction import worth_splitting

TARGET = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
HARDWARE = Hardware.from_target(TARGET)


def reduced(shape, axes, combine=te.sum, dtype="float32", epilogue=None):
    """Reduce some axes of one operand."""
    x = te.placeholder(shape, dtype, "X")
    inner = {a: te.reduce_axis((0, shape[a]), f"r{a}") for a in axes}
    kept = [a for a in range(len(shape)) if a not in axes]

    def element(*index):
        own = dict(zip(kept, index))
        return combine(
            x[tuple(inner.get(a, own.get(a)) for a in range(len(shape)))],
            axis=list(inner.values()),
        )

    y = te.compute([shape[a] for a in kept] or [1], element, name="reduced")
    if epilogue is None:
        return te.create_prim_func([x, y])
    return te.create_prim_func([x, te.compute(y.shape, lambda *i: epilogue(y[i]), name="out")])


def elementwise(shape, value, dtype="float32"):
    x = te.placeholder(shape, dtype, "X")
    return te.create_prim_func([x, te.compute(shape, lambda *i: value(x[i]), name="Y")])


def transpose(m, n):
    x = te.placeholder((m, n), "float32", "X")
    return te.create_prim_func([x, te.compute((n, m), lambda i, j: x[j, i], name="Y")])


def softmax_over_channels(n, c, w):
    x = te.placeholder((n, c, w), "float32", "X")
    r, s = te.reduce_axis((0, c), "r"), te.reduce_axis((0, c), "s")
    peak = te.compute((n, w), lambda i, j: te.max(x[i, r, j], axis=r), name="max")
    power = te.compute((n, c, w), lambda i, k, j: te.exp(x[i, k, j] - peak[i, j]), name="exp")
    total = te.compute((n, w), lambda i, j: te.sum(power[i, s, j], axis=s), name="sum")
    y = te.compute((n, c, w), lambda i, k, j: power[i, k, j] / total[i, j], name="softmax")
    return te.create_prim_func([x, y])


def pool(n, c, h, w, combine, stride):
    x = te.placeholder((n, c, h, w), "float32", "X")
    a, b = te.reduce_axis((0, 3), "a"), te.reduce_axis((0, 3), "b")

    def padded(i, j, k, m):
        inside = tirx.all(k >= 1, k <= h, m >= 1, m <= w)
        return tirx.if_then_else(inside, x[i, j, k - 1, m - 1], tirx.const(-9.0, "float32"))

    p = te.compute((n, c, h + 2, w + 2), padded, name="pad")
    y = te.compute(
        (n, c, (h - 1) // stride + 1, (w - 1) // stride + 1),
        lambda i, j, k, m: combine(p[i, j, k * stride + a, m * stride + b], axis=[a, b]),
        name="pool",
    )
    return te.create_prim_func([x, y])


def global_max_pool(shape):
    """Channels last; the dimensions of the image are kept, 1 long."""
    x = te.placeholder(shape, "float32", "X")
    return te.create_prim_func([x, topi.max(x, axis=(1, 2), keepdims=True)])


def margin(x, n, h, w, c):
    """An image with its channels last, and one pixel of zeros around it."""

    def padded(i, k, m, j):
        inside = tirx.all(k >= 1, k <= h, m >= 1, m <= w)
        return tirx.if_then_else(inside, x[i, k - 1, m - 1, j], tirx.const(0.0, "float32"))

    return te.compute((n, h + 2, w + 2, c), padded, name="pad")


def pool_channels_last(n, h, w, c):
    x = te.placeholder((n, h, w, c), "float32", "X")
    a, b = te.reduce_axis((0, 3), "a"), te.reduce_axis((0, 3), "b")
    p = margin(x, n, h, w, c)
    y = te.compute(
        (n, h, w, c), lambda i, k, m, j: te.max(p[i, k + a, m + b, j], axis=[a, b]), name="pool"
    )
    return te.create_prim_func([x, y])


def depthwise_channels_last(h, w, c, stride):
    x, f = te.placeholder((1, h, w, c), "float32", "X"), te.placeholder((3, 3, c), "float32", "F")
    a, b = te.reduce_axis((0, 3), "a"), te.reduce_axis((0, 3), "b")
    p = margin(x, 1, h, w, c)

    def product(i, k, m, j):
        return te.sum(p[i, k * stride + a, m * stride + b, j] * f[a, b, j], axis=[a, b])

    y = te.compute((1, (h - 1) // stride + 1, (w - 1) // stride + 1, c), product, name="filter")
    z = te.compute(y.shape, lambda *i: te.max(y[i], tirx.const(0.0, "float32")), name="relu")
    return te.create_prim_func([x, f, z])


def batch_norm_statistics(n, c, w):
    """Two outputs, one of which the other needs: no common rows to fuse."""
    x = te.placeholder((n, c, w), "float32", "X")
    a, b = te.reduce_axis((0, n), "a"), te.reduce_axis((0, w), "b")
    total = te.compute((c,), lambda j: te.sum(x[a, j, b], axis=[a, b]), name="sum")
    y = te.compute((n, c, w), lambda i, j, k: x[i, j, k] - total[j] / (n * w), name="centred")
    return te.create_prim_func([x, total, y])


def arg_max(m, n):
    x = te.placeholder((m, n), "float32", "X")
    index = te.placeholder((m, n), "int32", "I")

    def better(one, other):
        larger = one[1] >= other[1]
        return tirx.Select(larger, one[0], other[0]), tirx.Select(larger, one[1], other[1])

    def worst(first, second):
        return tirx.const(-1, first), tvm.tirx.min_value(second)

    combine = te.comm_reducer(better, worst, name="argmax")
    r = te.reduce_axis((0, n), "r")
    found = te.compute((m,), lambda i: combine((index[i, r], x[i, r]), axis=r), name="argmax")
    return te.create_prim_func([x, index, *found])


@T.prim_func(s_tir=True)
def roots(x: T.Buffer((128, 64), "float32"), y: T.Buffer((128, 64), "float32")):
    """Square roots of what is positive, each by as many steps as it takes."""
    for i, j in T.grid(128, 64):
        with T.sblock("roots"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(x[vi, vj])
            T.writes(y[vi, vj])
            z = T.sblock_alloc_buffer((1,), "float32", scope="local")
            z[0] = x[vi, vj] * T.float32(0.5) + T.float32(0.5)
            while z[0] * z[0] - x[vi, vj] > T.float32(0.001):
                z[0] = (z[0] + x[vi, vj] / z[0]) * T.float32(0.5)
            y[vi, vj] = z[0]


@T.prim_func(s_tir=True)
def roots_of_sums(x: T.Buffer((16, 32, 8), "float32"), y: T.Buffer((16, 32), "float32")):
    s = T.sblock_alloc_buffer((16, 32))
    for i, j, r in T.grid(16, 32, 8):
        with T.sblock("sums"):
            vi, vj, vr = T.axis.remap("SSR", [i, j, r])
            with T.init():
                s[vi, vj] = T.float32(0)
            s[vi, vj] = s[vi, vj] + x[vi, vj, vr] * x[vi, vj, vr]
    for i, j in T.grid(16, 32):
        with T.sblock("roots"):
            vi, vj = T.axis.remap("SS", [i, j])
            T.reads(s[vi, vj])
            T.writes(y[vi, vj])
            z = T.sblock_alloc_buffer((1,), "float32", scope="local")
            z[0] = s[vi, vj] + T.float32(1)
            while z[0] * z[0] - s[vi, vj] > T.float32(0.001):
                z[0] = (z[0] + s[vi, vj] / z[0]) * T.float32(0.5)
            y[vi, vj] = z[0]


def moments(n, c, h, w):
    """Sums and sums of squares side by side, and what an instance norm makes of them."""
    x = te.placeholder((n, c, h, w), "float32", "X")
    a, b = te.reduce_axis((0, h), "a"), te.reduce_axis((0, w), "b")

    def both(one, other):
        return one[0] + other[0], one[1] + other[1]

    def none(*dtypes):
        return tuple(tirx.const(0, dtype) for dtype in dtypes)

    combine = te.comm_reducer(both, none, name="moments")
    total, squares = te.compute(
        (n, c),
        lambda i, j: combine((x[i, j, a, b], x[i, j, a, b] * x[i, j, a, b]), axis=[a, b]),
        name="sums",
    )
    y = te.compute(
        x.shape, lambda i, j, k, m: x[i, j, k, m] * squares[i, j] - total[i, j], name="norm"
    )
    return te.create_prim_func([x, y])


def perceptron(n, k):
    """One row times a matrix, a bias, and a function of all of it."""
    shapes = {"X": (1, k), "W": (k, n), "b": (n,)}
    x, w, b = (te.placeholder(shape, "float32", name) for name, shape in shapes.items())
    r = te.reduce_axis((0, k), "r")
    y = te.compute((1, n), lambda i, j: te.sum(x[i, r] * w[r, j], axis=r), name="product")
    z = te.compute((1, n), lambda i, j: te.tanh(y[i, j] + b[j]), name="tanh")
    return te.create_prim_func([x, w, b, z])


FUNCTIONS = {
    "perceptron": perceptron(48, 40),
    "moments": moments(2, 3, 7, 8),
    "moments-of-rows": moments(2, 3, 4, 10),
    "softmax": workloads.make("softmax", (12, 48)),
    "softmax-prime": workloads.make("softmax", (7, 37)),
    "softmax-one-row": workloads.make("softmax", (1, 300)),
    "softmax-one-column": workloads.make("softmax", (13, 1)),
    "softmax-channels": softmax_over_channels(2, 5, 24),
    "softmax-channels-prime": softmax_over_channels(2, 5, 17),
    "layer_norm": workloads.make("layer_norm", (6, 40)),
    "layer_norm-prime": workloads.make("layer_norm", (3, 41)),
    "layer_norm-double": workloads.make("layer_norm", (6, 40), "float64"),
    "mean": workloads.make("mean", (16, 64)),
    "mean-odd": workloads.make("mean", (5, 49)),
    "sum-columns": reduced((40, 64), [0]),
    "sum-columns-prime": reduced((53, 37), [0]),
    "sum-columns-epilogue": reduced((512, 16), [0], epilogue=lambda v: v * 2.0),
    "sum-all": reduced((64, 48), [0, 1]),
    "sum-middle": reduced((3, 20, 16), [1]),
    "sum-outer-and-inner": reduced((6, 5, 24), [0, 2]),
    "max-int8": reduced((9, 64), [1], te.max, "int8"),
    "min-int64": reduced((9, 12), [1], te.min, "int64"),
    "global-average-pool": reduced((1, 6, 7, 7), [2, 3], epilogue=lambda v: v / 49.0),
    "global-max-pool-channels-last": global_max_pool((8, 5, 6, 24)),
    "global-max-pool-prime": global_max_pool((3, 5, 6, 17)),
    "global-max-pool-one-row": global_max_pool((4, 1, 7, 16)),
    "max-pool": pool(1, 3, 14, 16, te.max, 1),
    "max-pool-strided": pool(1, 3, 14, 14, te.max, 2),
    "max-pool-channels-last": pool_channels_last(2, 5, 6, 16),
    "depthwise-channels-last": depthwise_channels_last(6, 8, 24, 1),
    "depthwise-channels-last-strided": depthwise_channels_last(7, 6, 16, 2),
    "depthwise": workloads.make("depthwise_conv2d", (1, 4, 12, 16, 3, 1, 1)),
    "depthwise-batch": workloads.make("depthwise_conv2d", (8, 4, 12, 16, 3, 1, 1)),
    "depthwise-batch-whole-image": workloads.make("depthwise_conv2d", (8, 4, 5, 5, 5)),
    "depthwise-strided": workloads.make("depthwise_conv2d", (1, 3, 11, 11, 3, 2)),
    "relu": elementwise((24, 40), lambda v: te.max(v, 0.0)),
    "exp-flat": elementwise((1009,), te.exp),
    "negate-int8": elementwise((3, 64), lambda v: -v, "int8"),
    "scalar": elementwise((1,), lambda v: v + 1.0),
    "gelu": workloads.make("gelu", (8, 32)),
    "bias-gelu": workloads.make("bias_gelu", (8, 32)),
    "transpose": transpose(24, 40),
    "gemv": workloads.make("gemv", (40, 96)),
    "gemv-prime": workloads.make("gemv", (31, 53)),
    "gemm-row": workloads.make("gemm", (1, 64, 96)),
    "gemm-row-prime": workloads.make("gemm", (1, 53, 67)),
    "gemm-column": workloads.make("gemm", (64, 1, 48)),
    "batched-row": workloads.make("batch_gemm", (3, 1, 32, 40)),
    "statistics": batch_norm_statistics(4, 6, 16),
}


def arrays(mod, rng):
    infos = ArgInfo.from_entry_func(mod)
    drawn = [rng.standard_normal([int(d) for d in i.shape]) * 8 for i in infos]
    return [a.astype(str(i.dtype)) for a, i in zip(drawn, infos)]


def run(mod, inputs):
    return run_once(mod, TARGET, inputs)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_space_computes_the_same(name):
    mod = tvm.IRModule({"main": FUNCTIONS[name].with_attr("global_symbol", "main")})
    rng = np.random.default_rng(0)
    inputs = arrays(mod, rng)
    expected = run(mod, inputs)
    spaces = sketches(mod, TARGET)
    assert 1 <= len(spaces) <= 3
    for sketch in spaces:
        for config in np.unique(sketch.sample(3, rng), axis=0):
            found = run(sketch.schedule(config).mod, inputs)
            for array, right in zip(found, expected):
                np.testing.assert_allclose(array, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((8, 4), [0, 1]), ((4, 8), [0, 1]), ((1, 8, 4), [1, 2]), ((1, 4, 1, 8), [1, 3]), ((64,), [0])],
)
def test_sums_in_parts_are_right_however_the_parts_fall(shape, axes):
    """A part of one row, or one part of all rows, must not decide the lanes for the others."""
    mod = tvm.IRModule({"main": reduced(shape, axes).with_attr("global_symbol", "main")})
    rng = np.random.default_rng(0)
    inputs = arrays(mod, rng)
    expected = run(mod, inputs)
    parts = set()
    for sketch in sketches(mod, TARGET):
        for config in np.unique(sketch.sample(24, rng), axis=0):
            parts.add(int(config[0]))
            found = run(sketch.schedule(config).mod, inputs)
            np.testing.assert_allclose(found[-1], expected[-1], rtol=1e-4, atol=1e-4)
    assert len(parts) > 2


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_rule_opens_it_itself(name):
    sch = Schedule(tvm.IRModule({"main": FUNCTIONS[name]}))
    assert fused_spaces(sch, HARDWARE)


def test_a_reduction_that_chooses_is_left_to_other_rules():
    assert fused_spaces(Schedule(tvm.IRModule({"main": arg_max(6, 32)})), HARDWARE) == []


@pytest.mark.parametrize("shape", [(64,), (64, 32), (2, 3, 40)])
def test_a_result_without_axes_is_summed_in_parts(shape, caplog):
    x = te.placeholder(shape, "float32", "X")
    inner = [te.reduce_axis((0, n), f"r{n}") for n in shape]
    y = te.compute((), lambda: te.sum(x[tuple(inner)], axis=inner), name="Y")
    mod = tvm.IRModule({"main": te.create_prim_func([x, y]).with_attr("global_symbol", "main")})
    inputs = arrays(mod, np.random.default_rng(0))
    for sketch in sketches(mod, TARGET):
        for config in np.unique(sketch.sample(4, np.random.default_rng(0)), axis=0):
            found = run(sketch.schedule(config).mod, inputs)[-1]
            np.testing.assert_allclose(found, inputs[0].sum(), rtol=1e-3, atol=1e-2)
    assert "does not fit" not in caplog.text


def test_products_of_matrices_are_left_to_other_rules():
    sch = Schedule(tvm.IRModule({"main": workloads.make("gemm", (8, 8, 8))}))
    assert fused_spaces(sch, HARDWARE) == []


def rows_of(name):
    stages = stages_of(Schedule(tvm.IRModule({"main": FUNCTIONS[name]})))
    return common_rows(stages)


def test_rows_are_the_axes_that_all_stages_share():
    assert rows_of("softmax") == [[0]] * 4
    assert rows_of("softmax-channels") == [[0, 1], [0, 2], [0, 1], [0, 2]]
    assert rows_of("depthwise") == [[1], [1]]
    assert rows_of("statistics") == [[0], [1]]
    assert rows_of("sum-all") is None


def blocks_of(sch):
    function = next(iter(sch.mod.functions.values()))
    root = sch.get_sblock(function.body.block.name_hint)
    return list(sch.get_child_blocks(root))


def test_softmax_is_one_parallel_loop():
    space, *_ = fused_spaces(Schedule(tvm.IRModule({"main": FUNCTIONS["softmax"]})), HARDWARE)
    outermost = [
        space.get(block_loops[0]) for b in blocks_of(space) if (block_loops := space.get_loops(b))
    ]
    assert all(loop.same_as(outermost[0]) for loop in outermost)
    assert int(outermost[0].kind) == 1


def test_a_window_is_cut_into_rows_where_vectors_run_across_it():
    function = FUNCTIONS["depthwise-channels-last"]
    assert windowed_axes(stages_of(Schedule(tvm.IRModule({"main": function})))) == [1, 2]
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    (sketch,) = sketches(mod, TARGET)
    heights = [d.domain for d in sketch.decisions if d.name.startswith("relu.i1")]
    assert heights == [(1, 2, 3, 6), (1, 2, 3, 6), (1, 2)]


def test_padding_that_is_the_same_for_all_lanes_leaves_vectors():
    sch = Schedule(tvm.IRModule({"main": FUNCTIONS["max-pool-channels-last"]}))
    for space in fused_spaces(sch, HARDWARE):
        for block in blocks_of(space):
            kinds = [int(space.get(loop).kind) for loop in space.get_loops(block)]
            assert kinds[-1] == ForKind.VECTORIZED, space.get(block).name_hint


def test_few_results_with_long_sums_are_also_split():
    for name, number in {"gemm-row": 2, "mean": 1, "sum-columns-epilogue": 2}.items():
        sch = Schedule(tvm.IRModule({"main": FUNCTIONS[name]}))
        assert len(fused_spaces(sch, HARDWARE)) == number, name


def test_a_way_that_fails_costs_no_other(monkeypatch, caplog):
    def fails(*_):
        raise AssertionError("no such stage")

    monkeypatch.setattr("mschedx.space.rules.fused_stages.split_reduction", fails)
    sch = Schedule(tvm.IRModule({"main": FUNCTIONS["sum-columns-epilogue"]}))
    assert len(fused_spaces(sch, HARDWARE)) == 1
    assert "fails to make: AssertionError: no such stage" in caplog.text


def softmax_from_minus_infinity(n, c):
    """As people write it by hand; TVM's own maximum begins with the lowest finite number."""
    highest = te.comm_reducer(
        lambda a, b: te.max(a, b), lambda dtype: tirx.const(float("-inf"), dtype)
    )
    x = te.placeholder((n, c), "float32", "X")
    r, s = te.reduce_axis((0, c), "r"), te.reduce_axis((0, c), "s")
    peak = te.compute((n,), lambda i: highest(x[i, r], axis=r), name="max")
    power = te.compute((n, c), lambda i, j: te.exp(x[i, j] - peak[i]), name="exp")
    total = te.compute((n,), lambda i: te.sum(power[i, s], axis=s), name="sum")
    return te.create_prim_func(
        [x, te.compute((n, c), lambda i, j: power[i, j] / total[i], name="softmax")]
    )


def any_of_rows(n, c):
    x = te.placeholder((n, c), "float32", "X")
    large = te.compute((n, c), lambda i, j: x[i, j] > 2.0, name="large")
    found = topi.any(large, 1)
    return te.create_prim_func(
        [x, te.compute((n,), lambda i: found[i].astype("float32"), name="out")]
    )


@pytest.mark.parametrize(
    "function",
    [
        softmax_from_minus_infinity(24, 48),
        softmax_from_minus_infinity(17, 37),
        any_of_rows(9, 64),
        any_of_rows(2, 9000),
    ],
    ids=["softmax", "softmax-prime", "any", "any-long"],
)
def test_a_reduction_that_cannot_be_factored_costs_its_lanes_alone(function):
    (space,) = fused_spaces(Schedule(tvm.IRModule({"main": function})), HARDWARE)
    assert space.mod["main"].script().count("T.parallel(") == 1
    assert_sketches_agree(function, TARGET, configs=4, tolerance=1e-5)


def test_what_tvm_factors():
    product = te.comm_reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype))

    def body(function):
        sch = Schedule(tvm.IRModule({"main": function}))
        return sch.get(sch.get_sblock("reduced"))

    for combine in (te.sum, te.max, te.min, product):
        for dtype in ("float32", "float16", "int8", "bfloat16"):
            assert factors(body(reduced((9, 64), [1], combine, dtype))), dtype
    above_zero = te.comm_reducer(lambda a, b: te.max(a, b), lambda dtype: tirx.const(0, dtype))
    assert not factors(body(reduced((9, 64), [1], above_zero)))


@pytest.mark.parametrize("function", [roots, roots_of_sums], ids=["alone", "after-sums"])
def test_a_loop_that_ends_by_a_condition_is_no_vector(function):
    mod = tvm.IRModule({"main": function})
    rng = np.random.default_rng(0)
    inputs = [np.abs(array) for array in arrays(mod, rng)]
    squares = inputs[0] if function is roots else (inputs[0] ** 2).sum(axis=-1)
    for sketch in sketches(mod, TARGET):
        for config in np.unique(sketch.sample(3, rng), axis=0):
            found = run(sketch.schedule(config).mod, inputs)[-1]
            np.testing.assert_allclose(found, np.sqrt(squares), rtol=1e-2, atol=1e-1)


@pytest.mark.parametrize(
    ("columns", "dtype", "splits"),
    [(6000, "float32", True), (9000, "float32", False), (6000, "float64", False)],
)
def test_sums_are_shared_where_the_results_stay_in_the_first_cache(columns, dtype, splits):
    """64 KiB of first-level cache and what is taken of the second, for sums and a row."""
    sch = Schedule(tvm.IRModule({"main": reduced((4096, columns), [0], dtype=dtype)}))
    stage = stage_of(sch, sch.get_sblock("reduced"))
    assert HARDWARE.l1d_bytes + HARDWARE.l2_bytes // 8 == 1 << 16
    assert worth_splitting(stage, HARDWARE) == splits
