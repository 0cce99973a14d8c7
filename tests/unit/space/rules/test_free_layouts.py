"""Weights of a free layout are packed ahead: right results, nothing refused, nothing counted."""

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.testing import te_workload
from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock
from tvm.target import Target
from unoptimised import unoptimised

import mschedx
from mschedx.hardware import host_target
from mschedx.kernel import packed_ahead
from mschedx.measure import verify
from mschedx.space import sketches
from mschedx.space.analysis.exactness import check

AVX512 = Target({"kind": "llvm", "mcpu": "cascadelake", "num-cores": 2})


def dense(m, n, k, dtype="float32", accumulator="float32"):
    a = te.placeholder((m, k), dtype, name="A")
    w = te.placeholder((n, k), dtype if dtype != "uint8" else "int8", name="W")
    r = te.reduce_axis((0, k), "r")
    wide = lambda x: x.astype(accumulator)  # noqa: E731
    c = te.compute((m, n), lambda i, j: te.sum(wide(a[i, r]) * wide(w[j, r]), r), name="C")
    return [a, w, c]


def twice(m, n):
    """One weight that two products read."""
    a, w = te.placeholder((m, n), name="A"), te.placeholder((n, n), name="W")
    r, s = te.reduce_axis((0, n), "r"), te.reduce_axis((0, n), "s")
    b = te.compute((m, n), lambda i, j: te.sum(a[i, r] * w[j, r], r), name="B")
    c = te.compute((m, n), lambda i, j: te.sum(b[i, s] * w[s, j], s), name="C")
    return [a, w, c]


def free(tensors, position=1):
    function = te.create_prim_func(tensors).with_attr("layout_free_buffers", [position])
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


CASES = {
    "dense": dense(40, 48, 32),
    "dense of odd extents": dense(37, 53, 29),
    "dense that is padded": dense(11, 31, 32),
    "matmul": te_workload.matmul(32, 48, 24),
    "batch matmul": te_workload.batch_matmul_nkkm(3, 16, 32, 24),
    "conv2d nhwc": te_workload.conv2d_nhwc(1, 10, 10, 8, 16, 3, 2, 1),
    "conv2d nchw 3x3": te_workload.conv2d_nchw(1, 8, 8, 8, 32, 3, 3, 1, 1),
    "conv2d nchw 1x1": te_workload.conv2d_nchw(1, 8, 8, 16, 32, 1, 1, 1, 0),
    "u8 x s8 -> s32": dense(32, 32, 64, "uint8", "int32"),
    "matrix times vector": dense(1, 64, 128),
    "two readers": twice(16, 32),
}


@pytest.mark.parametrize("name", CASES)
def test_every_config_becomes_a_right_schedule(name):
    mod = free(CASES[name])
    target = host_target()
    for sketch in sketches(mod, target):
        schedules = list(sketch.schedules(sketch.sample(3, np.random.default_rng(0))))
        assert not [s for s in schedules if isinstance(s, Exception)]
        for schedule in schedules:  # what measuring asks of every candidate
            assert ArgInfo.from_entry_func(schedule.mod, remove_preproc=True)
        result = verify(schedules[0], mod, unoptimised(target))
        assert result.ok, result.reason


@pytest.mark.parametrize("name", ["dense", "conv2d nchw 3x3", "u8 x s8 -> s32"])
def test_the_copy_is_taken_out_and_no_part_of_the_statements(name):
    for sketch in sketches(free(CASES[name]), AVX512):
        (config,) = sketch.sample(1, np.random.default_rng(0))
        mod = sketch.schedule(config).mod
        if not packed_ahead(mod):  # the weight is read in place: vectors run along pixels
            continue
        assert not packed_ahead(RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(mod))
        read = {access.buffer for s in sketch.statements for access in s.reads}
        assert packed_ahead(mod)[0] not in read


def test_at_least_one_sketch_packs_ahead_where_one_block_reads_the_weight():
    def ahead(name):
        rng = np.random.default_rng(0)
        found = sketches(free(CASES[name]), AVX512)
        return [packed_ahead(s.schedule(s.sample(1, rng)[0]).mod) for s in found]

    assert all(ahead("dense"))
    assert not any(ahead("dense of odd extents"))  # padded, which is more than a copy
    assert any(ahead("conv2d nchw 3x3"))
    assert not any(ahead("two readers"))


@pytest.mark.parametrize("name", ["dense", "u8 x s8 -> s32"])
def test_the_analysis_is_exact(name):
    for sketch in sketches(free(CASES[name]), AVX512):
        configs = sketch.sample(5, np.random.default_rng(1))
        assert not check(sketch.design, sketch.analysis, configs, len(configs)).wrong


def test_a_result_says_what_its_latency_leaves_out(tmp_path):
    result = mschedx.tune(free(CASES["dense"]), trials=2, work_dir=tmp_path, progress=False)
    assert result.verified
    assert any("W may lie in any layout" in note for note in result.notes)
    rng = np.random.default_rng(0)
    a, w = (rng.standard_normal(s).astype("float32") for s in ((40, 32), (48, 32)))
    c = np.zeros((40, 48), "float32")
    result.compile()["main"](a, w, c)
    np.testing.assert_allclose(c, a @ w.T, rtol=1e-4, atol=1e-4)


def test_records_of_packed_weights_are_resumed(tmp_path):
    """Their arguments have the layout that the weights were given."""
    mod = free(CASES["dense"])
    first = mschedx.tune(mod, trials=3, work_dir=tmp_path, progress=False)
    again = mschedx.tune(mod, trials=3, work_dir=tmp_path, progress=False)
    assert (again.measured, again.latency_s) == (0, first.latency_s)
    assert len(again.history) == 3
