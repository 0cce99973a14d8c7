"""Builder and runner on candidates that work."""

import os

import numpy as np
import pytest
import tvm
from programs_to_measure import (
    TARGET,
    appended,
    build,
    far_rows,
    gemm,
    measured,
    module,
    quotients,
    run,
    tiled,
)
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput

from mschedx import compat
from mschedx.bench import fair
from mschedx.measure import LocalBuilder, LocalRunner, MeasureConfig, pool
from mschedx.measure import runner as runner_module


def test_objects_are_tvms_own(builder, runner):
    assert isinstance(builder, ms.builder.Builder)
    assert isinstance(runner, ms.runner.Runner)


def test_a_candidate_is_built_and_timed(builder, runner):
    result = measured(builder, runner, tiled(gemm(128)).mod)
    assert result.error_msg is None
    (latency_s,) = (float(s) for s in result.run_secs)
    assert 1e-6 < latency_s < 1.0


def test_artifacts_are_loadable_by_anyone_and_correct(builder):
    mod = tiled(gemm(64)).mod
    loaded = tvm.runtime.load_module(build(builder, mod).artifact_path)
    rng = np.random.default_rng(0)
    a, b = (rng.random((64, 64), dtype=np.float32) for _ in range(2))
    c = tvm.runtime.tensor(np.zeros((64, 64), np.float32))
    loaded["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), c)
    np.testing.assert_allclose(c.numpy(), a @ b, rtol=1e-5)


@pytest.mark.parametrize("make", [quotients, far_rows])
def test_what_divides_or_indexes_by_an_argument_runs_and_is_gone_when_it_is_removed(
    builder, runner, make
):
    mod = make()
    built = build(builder, mod)
    assert run(runner, built.artifact_path, mod).error_msg is None
    ms.utils.remove_build_dir(built.artifact_path)
    assert not os.path.exists(os.path.dirname(built.artifact_path))


def test_an_index_that_every_call_moves_on_stays_within_its_buffer(builder, runner):
    """Thousands of calls would write a megabyte behind a cache of two kilobytes."""
    mod = appended()
    for _ in range(3):
        result = measured(builder, runner, mod)
        assert result.error_msg is None
        assert 0 < float(result.run_secs[0]) < 1e-2


def test_an_entry_function_of_any_name_runs(builder, runner):
    mod = gemm(32)
    function = mod["main"].with_attr("global_symbol", "fused_matmul")
    renamed = tvm.IRModule({"fused_matmul": function.with_attr("tirx.is_entry_func", True)})
    assert measured(builder, runner, renamed).error_msg is None


def test_removing_the_artifact_removes_all_of_it(builder):
    artifact = build(builder, tiled(gemm(32)).mod).artifact_path
    directory = os.path.dirname(artifact)
    assert os.listdir(directory) == [os.path.basename(artifact)]
    assert os.path.dirname(directory) == pool.shared_pool(builder._config).directory


def test_a_slow_candidate_is_cut_and_recorded_as_seen(builder):
    quick, slow = tiled(gemm(64)).mod, gemm(256)
    both = [quick, slow]
    built = builder.build([BuilderInput(mod, TARGET) for mod in both])
    latencies = {}
    for cutoff in (None, 3.0):
        runner = LocalRunner(config=MeasureConfig(slow_cutoff=cutoff), timeout_s=60)
        futures = runner.run(
            [
                RunnerInput(b.artifact_path, "cpu", ArgInfo.from_entry_func(m, remove_preproc=True))
                for b, m in zip(built, both, strict=True)
            ]
        )
        latencies[cutoff] = [float(f.result().run_secs[0]) for f in futures]
    fast_s, slow_s = latencies[3.0]
    assert slow_s > 3 * fast_s
    # What was seen is a latency of this program: not a placeholder, nor a bound.
    assert 0.3 < slow_s / latencies[None][1] < 5


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "before a quick one"])
def test_a_slow_candidate_that_comes_first_is_judged_at_the_end(
    builder, runner, monkeypatch, alone
):
    seen = []
    judged = runner_module._RunBatch._judge
    monkeypatch.setattr(
        runner_module._RunBatch, "_judge", lambda batch: seen.append(judged(batch)) or seen[-1]
    )
    mods = [gemm(384)] if alone else [gemm(384), tiled(gemm(384)).mod]
    built = builder.build([BuilderInput(mod, TARGET) for mod in mods])
    futures = runner.run(
        [
            RunnerInput(b.artifact_path, "cpu", ArgInfo.from_entry_func(m, remove_preproc=True))
            for b, m in zip(built, mods, strict=True)
        ]
    )
    assert all(float(future.result().run_secs[0]) > 0 for future in futures)
    assert seen == [[0] if alone else []]


def test_cache_flush_is_slower_for_data_that_fit_the_cache(builder):
    # One pass over 128 KiB: from the caches, or from memory.
    a = te.placeholder((4,), name="A")
    b = te.placeholder((1 << 14,), name="B")
    mod = module(
        te.create_prim_func([a, b, te.compute((1 << 14,), lambda i: a[0] + b[i], name="C")])
    )
    artifact = build(builder, mod).artifact_path

    def best(flush):
        runner = LocalRunner(config=MeasureConfig(flush_cache=flush), timeout_s=60)
        return min(float(run(runner, artifact, mod).run_secs[0]) for _ in range(5))

    assert best(True) > best(False)


def test_tensorised_candidates_build_without_their_intrinsics(builder):
    # The worker has registered none: what was tensorised is already in the body.
    compat.load_tensor_intrinsics("x86")
    a = te.placeholder((4,), "uint8", name="A")
    b = te.placeholder((16, 4), "int8", name="B")
    k = te.reduce_axis((0, 4), name="k")
    c = te.compute(
        (16,),
        lambda i: te.sum(a[k].astype("int32") * b[i, k].astype("int32"), axis=k),
        name="C",
    )
    sch = Schedule(te.create_prim_func([a, b, c]))
    block = sch.get_sblock("C")
    i, reduction = sch.get_loops(block)
    sch.decompose_reduction(block, i)
    sch.tensorize(sch.get_loops(block)[0], "dot_16x4_avx512")
    target = tvm.target.Target({"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2})
    assert build(builder, sch.mod, target).error_msg is None
    del reduction


def test_no_latency_is_less_than_the_kernel_takes(builder, runner):
    """Other work makes latencies longer, never shorter: their least is compared."""
    mod = tiled(gemm(256)).mod
    artifact = build(builder, mod).artifact_path
    seen = [float(run(runner, artifact, mod).run_secs[0]) for _ in range(9)]
    kernel = tvm.runtime.load_module(artifact)["main"]
    tensors = [tvm.runtime.tensor(np.ones((256, 256), "float32")) for _ in range(3)]
    alone = compat.on_cores(
        None, lambda: min(fair.timed(lambda: kernel(*tensors), 1) for _ in range(300))
    )
    assert min(seen) > alone / 2


def copies_of_long_rows():
    """A loop whose body is 256 loads and 256 stores in a row."""
    a = te.placeholder((16, 256), name="A")
    c = te.compute((256, 16), lambda i, j: a[j, i] * 2.0, name="C")
    sch = Schedule(te.create_prim_func([a, c]))
    i, j = sch.get_loops(sch.get_sblock("C"))
    sch.reorder(j, i)
    sch.unroll(i)
    return module(sch.mod["main"])


def test_blocks_of_ordinary_length_compile_to_the_same_code_and_long_ones_to_the_same_result():
    portions, whole = LocalBuilder(max_workers=1), LocalBuilder(max_workers=1, whole_blocks=True)
    mod = tiled(gemm(64)).mod
    artifacts = [build(each, mod).artifact_path for each in (portions, whole)]
    texts = []
    for path in artifacts:
        with open(path, "rb") as file:
            texts.append(file.read())
    assert texts[0] == texts[1]
    a = np.random.default_rng(0).random((16, 256), dtype=np.float32)
    for each in (portions, whole):
        c = tvm.runtime.tensor(np.zeros((256, 16), np.float32))
        artifact = build(each, copies_of_long_rows()).artifact_path
        tvm.runtime.load_module(artifact)["main"](tvm.runtime.tensor(a), c)
        np.testing.assert_array_equal(c.numpy(), 2 * a.T)
