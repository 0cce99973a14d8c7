"""PackedTile: every design space computes what the unscheduled program computes."""

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.testing import te_workload
from tvm.target import Target
from unoptimised import run_once

from mschedx.hardware import Hardware
from mschedx.space.opening import sketches
from mschedx.space.rules.contraction import match_contraction
from mschedx.space.rules.packed_tile import PackedTile, packed_tiles
from mschedx.space.rules.padding import padding_factors
from mschedx.space.rules.register_tile import TileLimits, vector_length
from mschedx.space.target import for_target
from mschedx.workloads import make

TARGET = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})
HARDWARE = Hardware.from_target(TARGET)


def relu(value):
    return te.max(value, 0.0)


def relu6(value):
    return te.min(te.max(value, 0.0), 6.0)


def gelu(value):
    return value * (0.5 + te.erf(value * 0.5**0.5) * 0.5)


def gemm(m, n, k, transposed=False, epilogue=None):
    a = te.placeholder((m, k), name="A")
    b = te.placeholder((n, k) if transposed else (k, n), name="B")
    r = te.reduce_axis((0, k), name="k")
    right = (lambda i, j: b[j, r]) if transposed else (lambda i, j: b[r, j])
    c = te.compute((m, n), lambda i, j: te.sum(a[i, r] * right(i, j), axis=r), name="C")
    if epilogue is None:
        return te.create_prim_func([a, b, c])
    bias = te.placeholder((n,), name="bias")
    d = te.compute((m, n), lambda i, j: epilogue(c[i, j] + bias[j]), name="D")
    return te.create_prim_func([a, b, bias, d])


def gemm_with_residual(m, n, k):
    shapes = {"A": (m, k), "B": (k, n), "X": (m, n)}
    a, b, x = (te.placeholder(shape, name=name) for name, shape in shapes.items())
    r = te.reduce_axis((0, k), name="k")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, r] * b[r, j], axis=r), name="C")
    d = te.compute((m, n), lambda i, j: relu(c[i, j] + x[i, j]), name="D")
    return te.create_prim_func([a, b, x, d])


def workload(name, *args):
    return te.create_prim_func(list(getattr(te_workload, name)(*args)))


FUNCTIONS = {
    "gemm": gemm(64, 48, 32),
    "gemm-tall": gemm(96, 8, 24),
    "gemm-prime": gemm(37, 53, 29),
    "gemm-transposed": gemm(40, 48, 24, transposed=True),
    "gemm-prime-transposed": gemm(37, 53, 40, transposed=True),
    "gemm-prime-transposed-epilogue": gemm(31, 43, 29, transposed=True, epilogue=relu),
    "gemm-epilogue": gemm(32, 48, 24, epilogue=relu),
    "gemm-prime-epilogue": gemm(31, 43, 16, epilogue=relu),
    "gemm-relu6": gemm(32, 48, 24, epilogue=relu6),
    "gemm-residual": gemm_with_residual(32, 48, 24),
    "gemm-gelu": gemm(32, 48, 24, epilogue=gelu),
    "gemm-prime-gelu": gemm(31, 43, 16, epilogue=gelu),
    "gemm-prime-rows-gelu": gemm(31, 48, 16, epilogue=gelu),
    "gemm-batched": workload("batch_matmul_nkkm", 3, 16, 32, 24),
    "attention": workload("transpose_batch_matmul", 1, 16, 2, 8),
    "conv1d": workload("conv1d_nlc", 1, 20, 8, 16, 3, 2, 1),
    "conv2d-nhwc": workload("conv2d_nhwc", 1, 10, 10, 8, 16, 3, 2, 1),
    "conv2d-nchw": workload("conv2d_nchw", 1, 10, 10, 8, 16, 3, 3, 1, 1),
    "conv2d-nchw-bias-bn-relu": workload("conv2d_nchw_bias_bn_relu", 1, 8, 8, 4, 16, 3, 3, 1, 1),
    "conv2d-1x1": make("conv2d", (1, 24, 6, 6, 16, 1)),
    "conv3d-ncdhw": make("conv3d", (1, 8, 3, 5, 5, 16, 3, 1, 1)),
    "conv2d-dilated": workload("conv2d_nhwc", 1, 12, 12, 8, 16, 3, 1, 2, 2),
    "conv3d": workload("conv3d_ndhwc", 1, 4, 6, 6, 4, 8, 3, 1, 1),
}


# In place a transposed operand would be gathered; unpadded images are not staged. One more where
# patches can be a matrix.
SPACES = {
    "gemm-transposed": 2,
    "gemm-prime-transposed": 2,
    "gemm-prime-epilogue": 2,  # vectors along the rows of A
    "gemm-prime-gelu": 2,
    "conv2d-nchw": 3,
    "conv2d-nchw-bias-bn-relu": 5,
    "conv2d-1x1": 1,
    "conv3d-ncdhw": 3,
}


def arrays(mod, rng):
    shapes = [
        ([int(d) for d in info.shape], str(info.dtype)) for info in ArgInfo.from_entry_func(mod)
    ]
    return [rng.standard_normal(shape).astype(dtype) for shape, dtype in shapes]


def run(mod, inputs):
    return run_once(mod, TARGET, inputs)[-1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_space_computes_the_same(name):
    mod = tvm.IRModule({"main": FUNCTIONS[name].with_attr("global_symbol", "main")})
    rng = np.random.default_rng(0)
    inputs = arrays(mod, rng)
    expected = run(mod, inputs)
    spaces = sketches(mod, TARGET, for_target(TARGET))
    assert len(spaces) == SPACES.get(name, 4)
    for sketch in spaces:
        for config in sketch.sample(2, rng):
            np.testing.assert_allclose(
                run(sketch.schedule(config).mod, inputs), expected, rtol=1e-4, atol=1e-4
            )


def scheduled(function, name="C"):
    sch = Schedule(tvm.IRModule({"main": function}))
    return packed_tiles(sch, sch.get_sblock(name), HARDWARE)


def loop_kinds(sch, block):
    return [int(sch.get(loop).kind) for loop in sch.get_loops(sch.get_sblock(block))]


def test_structure_says_parallel_unroll_and_vectorise_itself():
    serial, parallel, vectorised, unrolled = 0, 1, 2, 3
    for sch in scheduled(FUNCTIONS["gemm"]):
        assert loop_kinds(sch, "C_update") == [
            parallel,
            *[serial] * 4,
            unrolled,
            unrolled,
            vectorised,
        ]


@pytest.mark.parametrize("name", ["gemm-epilogue", "gemm-relu6", "gemm-residual", "gemm-gelu"])
def test_an_epilogue_is_computed_on_the_tiles_that_it_reads(name):
    for sch in scheduled(FUNCTIONS[name]):
        blocks = sch.get_child_blocks(sch.get_sblock("root"))
        outermost = {
            sch.get(block).name_hint.split("_")[0]: sch.get(sch.get_loops(block)[0])
            for block in blocks
        }
        assert outermost["D"].same_as(outermost["C"])


def test_a_function_in_the_epilogue_is_a_call_for_the_whole_vector():
    for sch in scheduled(FUNCTIONS["gemm-gelu"]):
        text = sch.mod.script()
        assert "mschedx_gelu_8" in text
        assert "T.erf" not in text


def test_one_structure_for_every_config():
    mod = tvm.IRModule({"main": FUNCTIONS["gemm"].with_attr("global_symbol", "main")})
    rng = np.random.default_rng(1)
    for sketch in sketches(mod, TARGET, for_target(TARGET)):
        kinds = {
            tuple(loop_kinds(sch, "C_update") + loop_kinds(sch, "C_global"))
            for sch in (sketch.schedule(config) for config in sketch.sample(10, rng))
        }
        assert len(kinds) == 1


def test_padded_shapes_tile_in_whole_vectors():
    for sch in scheduled(gemm(37, 53, 29)):
        block = sch.get(sch.get_sblock("C_update"))
        assert [int(iv.dom.extent) for iv in block.iter_vars] == [40, 56, 29]


def test_rows_that_lie_the_other_way_round_are_padded_as_they_lie_and_shuffled():
    spaces = scheduled(FUNCTIONS["gemm-prime-transposed"])
    for sch in spaces:
        text = sch.mod.script()
        assert "mschedx_transpose_8x8" in text
        assert "B_pad[v0, v1] = T.if_then_else(v0 < 53, B[v0, v1], T.float32(0.0))" in text
    assert len(spaces) == 2


def test_blocks_that_are_no_contraction_are_left_alone():
    softmax = workload("softmax_mn", 16, 16)
    for name in ("T_softmax_maxelem", "T_softmax_expsum", "T_softmax_norm"):
        assert scheduled(softmax, name) == []
    assert scheduled(workload("depthwise_conv2d_nhwc", 1, 8, 8, 8, 3), "depth_conv2d_nhwc") == []


def test_a_single_column_is_vectorised_along_its_rows():
    for sch in scheduled(gemm(64, 1, 16)):
        rows, _, _ = sch.get(sch.get_sblock("C_update")).iter_vars
        lanes = sch.get(sch.get_loops(sch.get_sblock("C_update"))[-1])
        assert int(lanes.extent) == 8
        assert int(rows.dom.extent) == 64


@pytest.mark.parametrize(("rows", "vectors"), [(1, 12), (2, 6), (8, 2), (64, 2)])
def test_few_rows_make_wide_tiles(rows, vectors):
    sch = Schedule(tvm.IRModule({"main": gemm(rows, 64, 32)}))
    contraction = match_contraction(sch.get(sch.get_sblock("C")), HARDWARE.vector_bytes)
    assert TileLimits.of(HARDWARE, contraction).vector_unroll == vectors


def test_vector_length():
    assert [vector_length(n, 16) for n in (64, 24, 8, 12, 1, 1009)] == [16, 8, 8, None, None, None]


def test_padding_factors():
    limits = TileLimits(lanes=16, row_unroll=30, vector_unroll=4)

    def factors(m, n, k):
        sch = Schedule(tvm.IRModule({"main": gemm(m, n, k)}))
        contraction = match_contraction(sch.get(sch.get_sblock("C")))
        return padding_factors(contraction, limits)

    assert factors(1024, 1024, 1024) is None
    assert factors(1000, 1000, 1000) == [1, 16, 1]
    assert factors(1009, 1009, 1009) == [8, 16, 1]
    assert factors(61, 64, 8) == [4, 1, 1]
    assert factors(64, 24, 8) is None, "a third more work is not worth longer vectors"


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolutions_are_not_padded_as_if_they_were_products(kernel):
    function = workload("conv2d_nhwc", 1, 10, 10, 8, 20, kernel, 1, kernel // 2)
    sch = Schedule(tvm.IRModule({"main": function}))
    contraction = match_contraction(sch.get(sch.get_sblock("conv2d_nhwc")))
    assert padding_factors(contraction, TileLimits(16, 30, 4)) is None


def test_an_epilogue_without_a_tile_becomes_one_block_of_a_copy():
    a, b = te.placeholder((1, 32), name="A"), te.placeholder((32, 48), name="B")
    r = te.reduce_axis((0, 32), name="k")
    c = te.compute((1, 48), lambda i, j: te.sum(a[i, r] * b[r, j], axis=r), name="C")
    s = te.compute((1, 48), lambda i, j: te.sigmoid(c[i, j]), name="S")
    y = te.compute((1, 48), lambda i, j: c[i, j] * s[i, j], name="Y")
    mod = tvm.IRModule({"main": te.create_prim_func([a, b, y])})
    given = Schedule(mod)
    (made,) = PackedTile(HARDWARE).apply(given, given.get_sblock("C"))
    tvm.ir.assert_structural_equal(given.mod, mod)
    blocks = made.get_child_blocks(made.get_sblock("root"))
    assert [made.get(block).name_hint for block in blocks] == ["C", "Y"]


@pytest.mark.parametrize("shape", [(61, 50, 37), (64, 64, 64)])
def test_a_product_that_is_returned_and_read_once_is_tiled(shape):
    m, k, n = shape
    a, b = te.placeholder((m, k), name="A"), te.placeholder((k, n), name="B")
    r = te.reduce_axis((0, k), name="k")
    c = te.compute((m, n), lambda i, j: te.sum(a[i, r] * b[r, j], axis=r), name="C")
    d = te.compute((m, n), lambda i, j: relu(c[i, j]), name="D")
    function = te.create_prim_func([a, b, c, d])
    mod = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    rng = np.random.default_rng(0)
    inputs = arrays(mod, rng)
    product = inputs[0] @ inputs[1]
    assert len(scheduled(function)) == 4
    for sketch in sketches(mod, TARGET, for_target(TARGET)):
        for config in sketch.sample(2, rng):
            *_, found, positive = run_once(sketch.schedule(config).mod, TARGET, inputs)
            np.testing.assert_allclose(found, product, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(positive, np.maximum(product, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 8, 32])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_depthwise_convolution_has_no_panel_whatever_its_batch(batch, layout):
    if layout == "nchw":
        function = make("depthwise_conv2d", (batch, 16, 8, 8, 3, 1, 1))
        block = "depthwise_conv2d"
    else:
        function = workload("depthwise_conv2d_nhwc", batch, 8, 8, 16, 3, 1, 1)
        block = "depth_conv2d_nhwc"
    assert scheduled(function, block) == []
