"""CUDA candidates are built without a GPU, and run where there is one."""

import os
import shutil

import pytest
import tvm
from programs_to_measure import GPU, add_one, build, module, run, threads_bound
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.runner import RunnerInput

from mschedx.measure import LocalBuilder, failures, pool, verify


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


def test_a_gpu_batch_runs_in_the_background(runner):
    if tvm.cuda(0).exist:
        pytest.skip("there is a GPU")
    info = ArgInfo.from_entry_func(module(add_one), remove_preproc=True)
    (future,) = runner.run([RunnerInput("none.so", "cuda", info)])
    assert failures.reason(future.result().error_msg) == "run"
    assert future.done()
