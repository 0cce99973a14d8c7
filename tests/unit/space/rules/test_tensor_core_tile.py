"""TensorCoreTile: its index arithmetic on a CPU, its structure and constraints on a GPU target."""

import re

import numpy as np
import pytest
import tvm
from serial import SerialSchedule
from tensor_core_products import A100, factors, gemm, main_block, module, nests, spaces, workload
from tvm.s_tir import Schedule
from tvm.script import tirx as T
from tvm.target import Target
from unoptimised import run_once

from mschedx.space.analysis.read.extract import entry, extract
from mschedx.space.analysis.read.probe import random_configs
from mschedx.space.errors import InvalidSchedule
from mschedx.space.opening import sketches
from mschedx.space.rules.contraction import match_contraction
from mschedx.space.rules.matrix_product import as_product
from mschedx.space.rules.tensor_core_tile import MAX_THREADS, tensor_core_tiles
from mschedx.space.target import for_target

CPU = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 1})


FUNCTIONS = {
    "gemm": gemm(64, 64, 64),
    "gemm-odd": gemm(61, 50, 43),
    "gemm-odd-columns": gemm(64, 50, 64),
    "gemm-transposed": gemm(48, 64, 32, transposed=(True, True)),
    "gemm-epilogue": gemm(64, 32, 32, epilogue=True),
    "gemm-odd-epilogue": gemm(60, 41, 40, epilogue=True),
    "gemm-int8": gemm(64, 64, 64, "int8", "int32"),
    "gemm-int8-transposed": gemm(64, 64, 64, "int8", "int32", transposed=(True, True)),
    "gemm-batched": workload("batch_matmul_nkkm", 3, 32, 32, 32),
    "conv1d": workload("conv1d_nlc", 1, 32, 16, 32, 3, 2, 1),
    "conv2d-nhwc": workload("conv2d_nhwc", 1, 8, 8, 16, 32, 3, 1, 1),
    "conv2d-strided": workload("conv2d_nhwc", 1, 14, 14, 3, 32, 5, 2, 2),
    "conv2d-1x1": workload("conv2d_nhwc", 1, 8, 8, 32, 32, 1, 1, 0),
    "conv2d-1x1-strided": workload("conv2d_nhwc", 1, 9, 9, 16, 32, 1, 2, 0),
    "conv2d-1x1-nchw": workload("conv2d_nchw", 1, 8, 8, 32, 32, 1, 1, 1, 0),
    "conv2d-nchw": workload("conv2d_nchw", 1, 10, 10, 8, 32, 3, 3, 1, 1),
    "conv3d": workload("conv3d_ndhwc", 1, 4, 6, 6, 16, 32, 3, 1, 1),
}


def inputs_of(function, rng):
    """Small integers, whose sums every type here holds exactly."""
    shapes = [([int(d) for d in b.shape], str(b.dtype)) for b in function.params]
    return [rng.integers(-3, 4, shape).astype(dtype) for shape, dtype in shapes]


def run(mod, inputs):
    return run_once(mod, CPU, inputs)[-1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_space_computes_the_same(name):
    function = FUNCTIONS[name]
    inputs = inputs_of(function, np.random.default_rng(0))
    expected = run(module(function), inputs)
    assert np.abs(expected).max() > 0
    found = spaces(function, serial=True)
    assert found
    for serial in found:
        np.testing.assert_array_equal(run(serial.schedule.mod, inputs), expected)


def test_structure_of_a_gemm():
    sch, *_ = spaces(gemm(1024, 1024, 1024))
    (sketch,) = sketches(module(gemm(1024, 1024, 1024)), A100, [sch])
    m, n = "C_o.ax0_0_0", "C_o.ax1_0_0"
    wanted = {f"{m}.1": 2, f"{m}.2": 2, f"{n}.1": 2, f"{n}.2": 1, "C_o.ax2_0.1": 2}
    config = factors(sketch, **wanted, unroll=0)
    found = nests(sketch.schedule(config))
    grid, warps, pipeline = "block.y8 block.x16", "thread.y4", "*32"
    copy = f"{grid} {warps} {pipeline}"
    assert found == {
        "C_o_init": f"{grid} {warps} 2 2 1 2",
        # 128 x 32 and 32 x 64 elements, by 4 warps of 32 threads, 8 at a time.
        "A_reindex_shared.dyn_o": f"{copy} 4 thread.y4 thread.x32",
        "A_reindex_shared.dyn": f"{copy} 4 thread.y4 thread.x32 v8",
        "B_reindex_shared.dyn_o": f"{copy} 2 thread.y4 thread.x32",
        "B_reindex_shared.dyn": f"{copy} 2 thread.y4 thread.x32 v8",
        "A_reindex_shared.dyn_m16n8k8.matrixA_o": f"{copy} 2 4 1",
        "B_reindex_shared.dyn_m16n8k8.matrixB_o": f"{copy} 2 1 2",
        "C_o_update": f"{copy} 2 2 2 1 2",
        "C_m16n8k8.matrixC_o": f"{grid} {warps} 4 2",
    }


@pytest.fixture(scope="module")
def large():
    """The sketches of 4096 x 4096 x 4096, float16 with float32 sums."""
    return sketches(module(gemm(4096, 4096, 4096)), A100)


def test_heron_fact_5_every_sample_fits_its_instruction(large):
    assert len(large) == 2
    for sketch in large:
        configs = sketch.sample(500, np.random.default_rng(0))
        # How many there are along m and n.
        columns = [i for i, name in enumerate(sketch.names) if re.match(r"C_o\.ax[01].*\.1", name)]
        assert len(columns) == 2
        assert (32 * configs[:, columns].prod(axis=1) <= MAX_THREADS).all()
        for config in configs[:3]:
            sch = sketch.schedule(config)
            program = extract(entry(sch.mod))
            warps = config[columns].prod()
            threads = {(x.thread, x.extent) for x in program.loops if x.thread.startswith("thread")}
            # threadIdx.x is the warp's, and every band of threadIdx.y is the same.
            assert threads == {("threadIdx.x", 32), ("threadIdx.y", warps)}
            multiply = next(b for b in program.blocks if b.name == "C_o_update")
            write, *reads = sorted(multiply.accesses, key=lambda one: not one.is_write)
            m, n = write.lengths
            assert m * n == 256
            assert {length for one in reads for length in one.lengths} == {16}
            copies = [b for b in program.blocks if "mschedx.vectors" in dict(b.annotations)]
            assert len(copies) == 2
            for copy in copies:
                assert {access.lengths for access in copy.accesses} == {(1, 8)}


def test_heron_fact_6_sampled_configs_become_programs(large):
    """All of 200; that programs run, too, is in tests/unit/emulator and docs/benchmarks/gpus.md."""
    for sketch in large:
        outcomes = sketch.schedules(sketch.sample(100, np.random.default_rng(1)))
        assert all(isinstance(one, Schedule) for one in outcomes)


def test_stages_are_a_decision_of_the_pipeline():
    sch, *_ = spaces(gemm(256, 256, 256))
    (sketch,) = sketches(module(gemm(256, 256, 256)), A100, [sch])
    assert sketch.decisions[sketch.names.index("ax2_0_0.stages")].domain == (0, 1, 2, 3)
    for stages in (0, 3):
        config = factors(sketch, **{"ax2_0_0.stages": stages})
        loops = extract(entry(sketch.schedule(config).mod)).loops
        found = [dict(loop.annotations).get("software_pipeline_stage") for loop in loops]
        assert [one for one in found if one] == [(0, 0, stages)]


def test_a_short_reduction_has_no_pipeline():
    sch, *_ = spaces(gemm(64, 64, 16))
    (sketch,) = sketches(module(gemm(64, 64, 16)), A100, [sch])
    assert not any("stages" in name for name in sketch.names)
    sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0])


def test_padded_bytes_are_copied_in_words():
    (plain,) = spaces(gemm(1024, 1024, 1024, "int8", "int32", (False, True)))
    blocks = extract(entry(plain.mod)).blocks
    vectors = [dict(b.annotations).get("mschedx.vectors") for b in blocks]
    assert [lanes for lanes in vectors if lanes] == [16, 16]
    (padded,) = spaces(gemm(1000, 1000, 1000, "int8", "int32", (False, True)))
    program = extract(entry(padded.mod))
    copies = [b for b in program.blocks if b.name.endswith("shared.dyn")][:2]
    innermost = [program.loops[block.loops[-1]] for block in copies]
    assert [(loop.kind, loop.extent) for loop in innermost] == [("vectorized", 4)] * 2


@pytest.mark.parametrize("channels", [32, 48])
def test_guarded_copies_are_vectors_whatever_the_tile(channels):
    """A guard that TVM cannot show to hold for a whole vector makes it a loop over elements."""
    found = sketches(module(workload("conv2d_nhwc", 1, 8, 8, channels, 32, 3, 1, 1)), A100)
    rng = np.random.default_rng(0)
    for sketch in found:
        # Drawn without the analysis of the sketch, which takes longer than all the rest.
        outcomes = sketch.schedules(random_configs(sketch.design, 8, rng))
        schedules = [one for one in outcomes if isinstance(one, Schedule)]
        assert len(schedules) >= 6
        for schedule in schedules[:6]:
            source = tvm.compile(schedule.mod, A100).mod.imports[0].inspect_source()
            assert "_s = 0" not in source
            assert "PadInput" not in source or "uint4" in source


def test_row_pitch_is_a_decision():
    (sketch, *_) = sketches(module(gemm(256, 256, 256)), A100)
    for pitch in (0, 8):
        wanted = {"A_reindex_shared.dyn_o.pitch": pitch, "C_o.ax2_0.1": 2, "C_o.ax0_0.0": 2}
        config = factors(sketch, **wanted, **{"C_o.ax0_0.1": 2})
        size = sketch.extents(config[None])["A_reindex_shared.dyn/alloc_bytes"][0]
        stages = config[sketch.names.index("ax2_0_0.stages")]
        copies = stages + 1 if stages else 1
        assert size == copies * 128 * (32 + pitch) * 2


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        (gemm(64, 64, 64), ["m16n8k8", "wmma"]),
        (gemm(64, 64, 64, "bfloat16"), ["m16n8k8", "wmma"]),
        (gemm(64, 64, 64, "float16", "float16"), ["m16n8k8", "wmma"]),
        # B loaded one by one, or transposed on the way to shared memory.
        (gemm(64, 64, 64, "int8", "int32"), ["m16n8k8", "m16n8k8"]),
        (gemm(64, 64, 64, "int8", "int32", (False, True)), ["m16n8k8"]),
        (gemm(64, 64, 64, "float32"), []),
        # 8 rows waste half of a square tile, and three quarters of a pair of them.
        (gemm(8, 256, 64), ["wmma", "wmma"]),
        (gemm(1, 256, 64), []),
        (workload("depthwise_conv2d_nhwc", 1, 8, 8, 32, 3, 1, 1), []),
    ],
)
def test_intrinsics_offered(function, kinds):
    found = []
    for sch in spaces(function):
        buffers = [str(buffer.scope()) for buffer in sch.mod["main"].body.block.alloc_buffers]
        found.append(next(scope.split(".")[0] for scope in buffers if not scope.startswith("s")))
    assert found == kinds


def test_tf32_only_on_demand():
    function = gemm(64, 64, 64, "float32")
    assert spaces(function) == []
    assert len(spaces(function, tf32=True)) == 2
    sketch, *_ = sketches(module(function), A100, for_target(A100, tf32=True))
    assert "C_o_update" in nests(sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0]))
    sketch, *_ = sketches(module(function), A100, for_target(A100))
    assert "C_o_update" not in nests(sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0]))


def test_a_target_without_tensor_cores_has_no_space():
    assert spaces(gemm(64, 64, 64), Target({"kind": "cuda", "arch": "sm_61"})) == []


def any_schedule(function):
    """A schedule of the first sketch that the postprocs accept, without analysing the sketch."""
    design = sketches(module(function), A100)[0].design
    for config in random_configs(design, 200, np.random.default_rng(0)):
        try:
            return design.materialize(config)
        except InvalidSchedule:
            continue
    raise AssertionError("the postprocs accept none of 200 random configs")


def test_what_is_left_beside_the_kernel_gets_tvms_rules():
    found = nests(any_schedule(workload("conv2d_nhwc", 1, 8, 8, 16, 32, 3, 1, 1)))
    # Padding is inlined into the copy, and the copy of the result writes the output's own shape.
    # A copy to shared memory is a block of vectors in one of rows.
    assert len([name for name in found if not name.endswith("shared.dyn_o")]) == 8
    assert all(loops.startswith("block.y") for loops in found.values())


def test_the_epilogue_is_folded_into_the_copy_of_the_result():
    sch = any_schedule(gemm(64, 64, 64, epilogue=True))
    assert "E[" in sch.mod.script()
    assert not {"D", "E"} & set(nests(sch))


def test_weights_of_a_small_window_are_copied_in_lanes():
    # [O, I, 1, 1]: what lies side by side are the input channels, but no intrinsic takes them so.
    mod = module(FUNCTIONS["conv2d-1x1-nchw"])
    for sketch in sketches(mod, A100, spaces(FUNCTIONS["conv2d-1x1-nchw"])):
        domains = {decision.name: decision.domain for decision in sketch.decisions}
        assert domains["W_reindex_shared.dyn.fetch"] == (1, 2, 4, 8)
        found = sketch.schedules(sketch.sample(8, np.random.default_rng(0)))
        assert all(isinstance(one, Schedule) for one in found)


def grid_of(sch):
    """Blocks along x, y, z of the kernel of a schedule."""
    (multiply,) = (loops for name, loops in nests(sch).items() if name.endswith("_update"))
    return {tag: int(blocks) for tag, blocks in re.findall(r"block\.(\w)(\d+)", multiply)}


@pytest.mark.parametrize(
    ("function", "tag"),
    [
        (workload("batch_matmul_nkkm", 70_000, 32, 32, 32), "x"),
        (workload("batch_matmul_nkkm", 65_535, 32, 32, 32), "z"),
        (gemm(4_194_304, 32, 32), "x"),
        (gemm(524_288, 32, 32), "y"),
    ],
)
def test_only_x_takes_more_blocks_than_a_gpu_has_along_y_and_z(function, tag):
    for sch in spaces(function):
        found = grid_of(sch)
        assert max(found, key=found.get) == tag
        assert all(blocks <= 65_535 for axis, blocks in found.items() if axis != "x")


@T.prim_func(s_tir=True)
def named_root(
    a: T.Buffer((64, 48), "float16"),
    b: T.Buffer((48, 32), "float16"),
    c: T.Buffer((64, 32), "float32"),
):
    with T.sblock("whole"):
        for i, j, r in T.grid(64, 32, 48):
            with T.sblock("C"):
                vi, vj, vr = T.axis.remap("SSR", [i, j, r])
                with T.init():
                    c[vi, vj] = T.float32(0)
                c[vi, vj] = c[vi, vj] + T.Cast("float32", a[vi, vr]) * T.Cast("float32", b[vr, vj])


def test_the_outermost_block_may_have_any_name(caplog):
    function = named_root.with_attr("global_symbol", "main")
    inputs = inputs_of(function, np.random.default_rng(0))
    expected = inputs[0].astype("float32") @ inputs[1].astype("float32")
    serial = SerialSchedule(Schedule(module(function), seed=1))
    for found in tensor_core_tiles(serial, serial.get_sblock("C"), A100):
        np.testing.assert_array_equal(run(found.schedule.mod, inputs), expected)
    sketch, *_ = sketches(module(function), A100)
    assert "C_o_update" in nests(sketch.schedule(sketch.sample(1, np.random.default_rng(0))[0]))
    assert "does not fit" not in caplog.text


def test_roles_of_a_convolution():
    sch = Schedule(module(workload("conv2d_nchw", 1, 10, 10, 8, 32, 3, 3, 1, 1)))
    product = as_product(match_contraction(sch.get(main_block(sch))))
    assert product.shape == (100, 32, 72)
    # Pixels lie next to each other in the image, taps in the weights.
    assert (product.a_along_k, product.b_along_k) == (False, True)
    assert not product.in_place


@pytest.mark.gpu
@pytest.mark.skipif(not tvm.cuda(0).exist, reason="no CUDA device")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_on_a_device(name):
    function = FUNCTIONS[name]
    device = tvm.cuda(0)
    target = Target.from_device(device)
    inputs = inputs_of(function, np.random.default_rng(0))
    expected = run(module(function), inputs)
    rng = np.random.default_rng(1)
    for sketch in sketches(module(function), target):
        for sch in sketch.schedules(sketch.sample(8, rng)):
            tensors = [tvm.runtime.tensor(a, device) for a in inputs]
            tvm.compile(sch.mod, target)["main"](*tensors)
            np.testing.assert_array_equal(tensors[-1].numpy(), expected)
