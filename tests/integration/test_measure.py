"""Builder, runner and verification on real candidates, good and bad, and in TVM's own search."""

import logging
import os
import shutil
import statistics

import numpy as np
import pytest
import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput
from tvm.script import tirx as T

from mschedx import compat
from mschedx.measure import LocalBuilder, LocalRunner, MeasureConfig, failures, pool, verify

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": compat.available_cores()})
GPU = tvm.target.Target("nvidia/nvidia-a100")


@pytest.fixture(scope="module", autouse=True)
def end_workers():
    compat.load_tensor_intrinsics()
    yield
    pool.shutdown()


@pytest.fixture(scope="module")
def builder():
    return LocalBuilder(timeout_s=60)


@pytest.fixture(scope="module")
def runner():
    return LocalRunner(timeout_s=30)


def gemm(n, dtype="float32", accumulator=None, name="main"):
    accumulator = accumulator or dtype
    a = te.placeholder((n, n), dtype, name="A")
    b = te.placeholder((n, n), dtype, name="B")
    k = te.reduce_axis((0, n), name="k")

    def product(i, j):
        return te.sum(a[i, k].astype(accumulator) * b[k, j].astype(accumulator), axis=k)

    function = te.create_prim_func([a, b, te.compute((n, n), product, name="C")])
    return tvm.IRModule({"main": function.with_attr("global_symbol", name)})


def tiled(mod, rows=4, columns=16, steps=4):
    sch = Schedule(mod)
    block = sch.get_sblock("C")
    i, j, k = sch.get_loops(block)
    i, row = sch.split(i, [None, rows])
    j, column = sch.split(j, [None, columns])
    k, step = sch.split(k, [None, steps])
    sch.reorder(i, j, k, row, step, column)
    sch.vectorize(column)
    sch.parallel(i)
    sch.unroll(row)
    sch.decompose_reduction(block, k)
    return sch


with compat.fast_script():

    @T.prim_func(s_tir=True)
    def add_one(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        for i in range(64):
            with T.sblock("B"):
                v = T.axis.spatial(64, i)
                B[v] = A[v] + T.float32(1)

    @T.prim_func(s_tir=True)
    def aborts(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        for i in range(64):
            with T.sblock("B"):
                v = T.axis.spatial(64, i)
                T.evaluate(T.call_extern("abort", dtype="int32"))
                B[v] = A[v]

    @T.prim_func(s_tir=True)
    def stores_far_away(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        for i in range(64):
            with T.sblock("B"):
                v = T.axis.spatial(64, i)
                B[v * 8388608 + 4194304] = A[v]

    @T.prim_func(s_tir=True)
    def never_ends(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        for i in range(64):
            with T.sblock("B"):
                v = T.axis.spatial(64, i)
                T.evaluate(T.call_extern("sleep", 3600, dtype="int32"))
                B[v] = A[v]

    @T.prim_func(s_tir=True)
    def eats_memory(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        X = T.sblock_alloc_buffer((2_000_000_000,), "float32")
        for i in range(2_000_000_000):
            with T.sblock("X"):
                v = T.axis.spatial(2_000_000_000, i)
                X[v] = A[v % 64]
        for i in range(64):
            with T.sblock("B"):
                v = T.axis.spatial(64, i)
                B[v] = X[v * 1000000]

    # 512-bit operands for a target without 512-bit registers: LLVM gives up the whole process.
    @T.prim_func(s_tir=True)
    def aborts_llvm(A: T.Buffer((64,), "uint8"), B: T.Buffer((16,), "int32")):
        with T.sblock("root"), T.sblock("B"):
            T.reads(A[0:64], B[0:16])
            T.writes(B[0:16])
            B[T.ramp(0, 1, 16)] = T.call_llvm_pure_intrin(
                "int32x16",
                "llvm.x86.avx512.vpdpbusd.512",
                B[T.ramp(0, 1, 16)],
                T.reinterpret("int8x64", A[T.ramp(0, 1, 64)]),
                T.reinterpret("int8x64", A[T.ramp(0, 1, 64)]),
            )


def module(function):
    # A schedule whose module nobody else holds may change the loops of a function that it was
    # made from, so every module gets its own copy.
    own = tvm.ir.load_json(tvm.ir.save_json(function))
    return tvm.IRModule({"main": own.with_attr("global_symbol", "main")})


def build(builder, mod, target=TARGET):
    return builder.build([BuilderInput(mod, target)])[0]


def run(runner, artifact, mod, device="cpu"):
    info = ArgInfo.from_entry_func(mod, remove_preproc=True)
    return runner.run([RunnerInput(artifact, device, info)])[0].result()


def measured(builder, runner, mod):
    built = build(builder, mod)
    assert built.error_msg is None
    return run(runner, built.artifact_path, mod)


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


@pytest.mark.parametrize(
    ("function", "category", "says"),
    [
        (aborts, "crash", "SIGABRT"),
        (stores_far_away, "crash", "SIGSEGV"),
        (never_ends, "timeout", "1 s"),
        (eats_memory, "memory", "MiB"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_candidate_that_misbehaves_costs_one_record(builder, function, category, says):
    # A memory limit well below what the machine has; a time limit that only the sleeper meets.
    limit_s = 1.0 if function is never_ends else 60.0
    runner = LocalRunner(timeout_s=limit_s, memory_bytes=1 << 29)
    # By attribute: the fixture parameter is a PrimFunc whose checks TVM leaves to the runtime.
    inputs = [module(function), module(add_one)]
    built = builder.build([BuilderInput(mod, TARGET) for mod in inputs])
    assert [b.error_msg for b in built] == [None, None]
    futures = runner.run(
        [
            RunnerInput(b.artifact_path, "cpu", ArgInfo.from_entry_func(mod, remove_preproc=True))
            for b, mod in zip(built, inputs, strict=True)
        ]
    )
    bad, good = (future.result() for future in futures)
    assert bad.run_secs is None
    assert failures.reason(bad.error_msg) == category
    assert says in bad.error_msg.splitlines()[0]
    assert good.error_msg is None


def test_a_compiler_that_aborts_costs_one_record(builder):
    narrow = tvm.target.Target({"kind": "llvm", "mcpu": "alderlake", "num-cores": 2})
    built = builder.build(
        [
            BuilderInput(module(aborts_llvm), narrow),
            BuilderInput(module(add_one), TARGET),
        ]
    )
    assert failures.reason(built[0].error_msg) == "crash"
    assert "LLVM ERROR" in built[0].error_msg
    assert built[1].error_msg is None


def test_a_module_that_does_not_compile_is_a_record(builder):
    sch = Schedule(gemm(64))
    sch.bind(sch.get_loops(sch.get_sblock("C"))[0], "threadIdx.x")  # there are none on a CPU
    built = build(builder, sch.mod)
    assert built.artifact_path is None
    assert failures.reason(built.error_msg) == "build"


def test_an_artifact_that_is_gone_is_a_record(builder, runner):
    mod = tiled(gemm(32)).mod
    built = build(builder, mod)
    shutil.rmtree(os.path.dirname(built.artifact_path))
    assert failures.reason(run(runner, built.artifact_path, mod).error_msg) == "run"


def test_a_slow_candidate_is_cut_and_recorded_as_seen(builder):
    quick, slow = tiled(gemm(256)).mod, gemm(256)
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


def test_a_build_function_of_ones_own():
    def refuse(mod, target):
        raise NotImplementedError(f"{target.kind.name} is not for me")

    built = build(LocalBuilder(max_workers=1, build=refuse), gemm(16))
    assert built.error_msg.startswith("build: NotImplementedError: llvm is not for me")


def threads_bound():
    sch = Schedule(module(add_one))
    (loop,) = sch.get_loops(sch.get_sblock("B"))
    outer, inner = sch.split(loop, [None, 32])
    sch.bind(outer, "blockIdx.x")
    sch.bind(inner, "threadIdx.x")
    return sch.mod


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_cuda_builds_without_a_gpu_and_says_what_is_missing_to_run(builder, runner):
    built = build(builder, threads_bound(), GPU)
    assert built.error_msg is None
    if tvm.cuda(0).exist:
        pytest.skip("there is a GPU")
    result = run(runner, built.artifact_path, threads_bound(), "cuda")
    assert result.error_msg == "run: RuntimeError: no CUDA device on this machine"


@pytest.mark.gpu
def test_cuda_runs_and_is_right(builder, runner):
    if not tvm.cuda(0).exist:
        pytest.skip("no GPU")
    target = tvm.target.Target.from_device(tvm.cuda(0))
    built = build(builder, threads_bound(), target)
    assert built.error_msg is None
    assert run(runner, built.artifact_path, threads_bound(), "cuda").error_msg is None
    assert verify(threads_bound(), module(add_one), target).ok


def test_cuda_without_a_compiler_says_so(monkeypatch, tmp_path):
    for tool in ("ld", "gcc"):
        os.symlink(shutil.which(tool), tmp_path / tool)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(os.path, "exists", os.path.exists)
    pool.shutdown()
    try:
        built = build(LocalBuilder(max_workers=1), threads_bound(), GPU)
    finally:
        pool.shutdown()
    if os.path.exists("/usr/local/cuda/bin/nvcc") or built.error_msg is None:
        pytest.skip("a CUDA compiler is found beside PATH")
    assert failures.reason(built.error_msg) == "build"
    assert "CUDA" in built.error_msg


@pytest.mark.parametrize("bad", [0, -2, 1.5])
def test_a_number_of_workers_that_cannot_be(bad):
    with pytest.raises(ValueError, match="max_workers"):
        LocalBuilder(max_workers=bad)


def test_limits_that_cannot_be():
    with pytest.raises(ValueError, match="timeout_s"):
        LocalBuilder(timeout_s=0)
    with pytest.raises(ValueError, match="timeout_s"):
        LocalRunner(timeout_s=-1)
    with pytest.raises(ValueError, match="cores"):
        LocalRunner(cores=0)
    with pytest.raises(ValueError, match="cores"):
        LocalRunner(cores=compat.available_cores() + 1)
    with pytest.raises(TypeError, match="function"):
        LocalBuilder(initializer="numpy")


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="workers"):
        LocalBuilder(workers=2)
    with pytest.raises(TypeError, match="evaluator"):
        LocalRunner(evaluator=None)


def test_an_unwritable_temporary_directory_is_named(monkeypatch, tmp_path):
    import tempfile

    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(OSError, match="TMPDIR"):
        LocalBuilder(max_workers=1)


def test_an_argument_type_that_cannot_be_filled_is_a_record(builder, runner):
    a = te.placeholder((64,), "int4", name="A")
    mod = module(te.create_prim_func([a, te.compute((64,), lambda i: a[i], name="B")]))
    built = build(builder, mod)
    if built.error_msg is None:
        result = run(runner, built.artifact_path, mod)
        assert failures.reason(result.error_msg) == "run"
        assert "int4" in result.error_msg


def tune(builder, runner, **keywords):
    # Where TVM's logger does not propagate, pytest adds handlers that TVM cannot configure.
    logging.getLogger("tvm.s_tir.meta_schedule").handlers.clear()
    with compat.only_intrinsics(TARGET):
        return ms.tune_tir(
            gemm(64),
            TARGET,
            work_dir=keywords.pop("work_dir"),
            max_trials_global=8,
            num_trials_per_iter=4,
            builder=builder,
            runner=runner,
            cost_model="random",
            seed=0,
            num_tuning_cores=1,
            **keywords,
        )


@pytest.mark.parametrize(
    "strategy",
    [
        ms.search_strategy.ReplayTrace(),
        ms.search_strategy.EvolutionarySearch(population_size=64, genetic_num_iters=1),
    ],
    ids=["replay-trace", "evolutionary"],
)
def test_tvms_own_search_uses_them(builder, runner, tmp_path, strategy):
    directory = pool.shared_pool(builder._config).directory
    before = set(os.listdir(directory))
    database = tune(builder, runner, strategy=strategy, work_dir=str(tmp_path))
    records = database.get_all_tuning_records()
    latencies = [float(record.run_secs[0]) for record in records]
    assert len(latencies) == 8
    assert all(1e-7 < latency_s < 1 for latency_s in latencies)
    # Removed by TVM after each round, so a long run does not fill the disk.
    assert set(os.listdir(directory)) == before


def test_a_gpu_batch_runs_in_the_background(runner):
    if tvm.cuda(0).exist:
        pytest.skip("there is a GPU")
    info = ArgInfo.from_entry_func(module(add_one), remove_preproc=True)
    (future,) = runner.run([RunnerInput("none.so", "cuda", info)])
    assert failures.reason(future.result().error_msg) == "run"
    assert future.done()


@pytest.mark.parametrize(
    ("dtype", "accumulator"),
    [
        ("float32", None),
        ("float64", None),
        ("float16", "float32"),
        ("float16", None),
        ("bfloat16", "float32"),
        ("int8", "int32"),
        ("uint8", "int32"),
    ],
)
def test_a_right_schedule_is_verified(dtype, accumulator):
    mod = gemm(64, dtype, accumulator)
    result = verify(tiled(mod), mod, TARGET, rng=np.random.default_rng(1))
    assert result.ok
    assert result.checked
    assert result.reason == ""
    assert result.max_error <= result.tolerance


def wrong_gemm(n):
    """Forget the last term of every sum."""
    mod = gemm(n)
    a = te.placeholder((n, n), name="A")
    b = te.placeholder((n, n), name="B")
    k = te.reduce_axis((0, n - 1), name="k")
    c = te.compute((n, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    return module(te.create_prim_func([a, b, c])), mod


def test_a_wrong_schedule_is_found_out():
    wrong, right = wrong_gemm(512)
    result = verify(wrong, right, TARGET)
    assert not result.ok
    assert result.checked
    assert "differ" in result.reason
    assert result.max_error > result.tolerance > 0


def test_a_candidate_that_crashes_is_wrong_and_a_reference_that_does_is_nothing():
    crashed = verify(aborts, add_one, TARGET)
    assert (crashed.ok, crashed.checked) == (False, True)
    assert "crash: SIGABRT" in crashed.reason
    unknown = verify(add_one, aborts, TARGET)
    assert (unknown.ok, unknown.checked) == (False, False)
    assert "unscheduled" in unknown.reason


def test_a_target_that_is_not_here_leaves_the_candidate_unchecked():
    if tvm.cuda(0).exist:
        pytest.skip("there is a GPU")
    result = verify(threads_bound(), add_one, GPU)
    assert (result.ok, result.checked) == (False, False)
    assert "no such device" in result.reason


def test_an_input_that_is_overwritten_is_found():
    with compat.fast_script():

        @T.prim_func(s_tir=True)
        def spoils(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
            for i in range(64):
                with T.sblock("B"):
                    v = T.axis.spatial(64, i)
                    B[v] = A[v] + T.float32(1)
                    A[v] = T.float32(0)

    assert not verify(spoils, add_one, TARGET).ok


def test_results_that_are_nan_on_negative_inputs_are_compared_on_positive_ones():
    a = te.placeholder((256,), name="A")
    root = te.compute((256,), lambda i: te.log(te.log(te.exp(a[i] * 8) - 1)), name="C")
    mod = module(te.create_prim_func([a, root]))
    result = verify(mod, mod, TARGET)
    assert result.ok
    assert result.tolerance > 0


def layout_free_gemm(n):
    a, b = (te.placeholder((n, n), name=name) for name in "AB")
    k = te.reduce_axis((0, n), name="k")
    c = te.compute(
        (n, n),
        lambda i, j: te.sum(a[i, k] * b[k, j], axis=k),
        name="C",
        attrs={"layout_free_placeholders": [b]},
    )
    return module(te.create_prim_func([a, b, c]))


def test_a_rewritten_weight_layout_is_measured_and_verified(builder, runner):
    mod = layout_free_gemm(64)
    context = ms.TuneContext(
        mod=mod,
        target=TARGET,
        space_generator="post-order-apply",
        search_strategy="replay-trace",
        num_threads=1,
        rand_state=3,
    )
    spaces = context.generate_design_space()
    context.pre_tuning(8, 8, spaces, ms.database.MemoryDatabase(), ms.cost_model.RandomModel())
    rewritten = [
        candidate
        for candidate in context.generate_measure_candidates()
        if "layout_rewrite_preproc" in str(candidate.sch.mod)
    ]
    assert rewritten
    candidate = rewritten[0]
    built = build(builder, candidate.sch.mod)
    assert built.error_msg is None
    assert [len(a.shape) for a in candidate.args_info] != [2, 2, 2]  # the weight is packed
    inputs = [RunnerInput(built.artifact_path, "cpu", candidate.args_info)]
    assert runner.run(inputs)[0].result().error_msg is None
    assert verify(candidate.sch, mod, TARGET).ok


def test_something_that_is_no_program_is_refused():
    with pytest.raises(TypeError, match="Schedule"):
        verify(3, add_one, TARGET)


def test_a_naive_reference_of_a_large_gemm_is_quick_enough():
    import time

    mod = gemm(1024)
    verify(module(add_one), module(add_one), TARGET)
    start = time.monotonic()
    assert verify(tiled(mod), mod, TARGET).ok
    assert time.monotonic() - start < 30


def test_repeated_timings_agree(builder, runner):
    mod = tiled(gemm(256)).mod
    artifact = build(builder, mod).artifact_path
    seen = [float(run(runner, artifact, mod).run_secs[0]) for _ in range(9)]
    middle = statistics.median(seen)
    assert min(seen) > middle / 3
