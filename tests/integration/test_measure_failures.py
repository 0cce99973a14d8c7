"""Candidates that misbehave cost one record each; arguments that make no sense are refused."""

import os
import shutil

import pytest
import tvm
from programs_to_measure import (
    TARGET,
    aborts,
    aborts_llvm,
    add_one,
    build,
    eats_memory,
    gemm,
    module,
    never_ends,
    run,
    stores_far_away,
    tiled,
)
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput

from mschedx import compat
from mschedx.measure import LocalBuilder, LocalRunner, failures, shutdown


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


def test_an_artifact_that_is_gone_is_no_failure_of_the_candidate(builder, runner):
    mod = tiled(gemm(32)).mod
    built = build(builder, mod)
    shutil.rmtree(os.path.dirname(built.artifact_path))
    with pytest.raises(RuntimeError, match=f"machine: .*{built.artifact_path}"):  # through TVM
        run(runner, built.artifact_path, mod)


def test_a_linker_that_is_missing_is_no_failure_of_the_candidate(monkeypatch):
    monkeypatch.setenv("MSCHEDX_LD", "no-such-linker")
    shutdown()
    try:
        with pytest.raises(RuntimeError, match=r"machine: no linker found \(no-such-linker\)"):
            build(LocalBuilder(max_workers=1), tiled(gemm(32)).mod)
    finally:
        shutdown()


def test_a_build_function_of_ones_own():
    def refuse(mod, target):
        raise NotImplementedError(f"{target.kind.name} is not for me")

    built = build(LocalBuilder(max_workers=1, build=refuse), gemm(16))
    assert built.error_msg.startswith("build: NotImplementedError: llvm is not for me")


def test_an_argument_type_that_cannot_be_filled_is_a_record(builder, runner):
    a = te.placeholder((64,), "int4", name="A")
    mod = module(te.create_prim_func([a, te.compute((64,), lambda i: a[i], name="B")]))
    built = build(builder, mod)
    if built.error_msg is None:
        result = run(runner, built.artifact_path, mod)
        assert failures.reason(result.error_msg) == "run"
        assert "int4" in result.error_msg


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
