"""Candidates that are measured apart from TVM's scheduler leave nothing behind."""

import os

import pytest
from stand_ins import Builder, Runner, gemm
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.target import Target

from mschedx.inputs import normalize_mod
from mschedx.measure.candidates import build_all, run_all

TARGET = Target({"kind": "llvm", "mcpu": "haswell", "num-cores": 2})


@pytest.fixture(scope="module")
def mod():
    return normalize_mod(gemm())


def folders(built):
    return [os.path.dirname(str(one.artifact_path)) for one in built if one.error_msg is None]


def test_results_come_in_order_and_what_was_built_is_removed(mod):
    built = build_all([mod] * 3, TARGET, Builder())
    built[1] = ms.builder.BuilderResult(None, "build: no")
    assert all(map(os.path.isdir, folders(built)))
    ran = run_all(built, [ArgInfo.from_entry_func(mod)] * 3, TARGET, Runner([2, None]))
    assert float(ran[0].run_secs[0]) == 2e-3
    assert [one.error_msg for one in ran[1:]] == ["build: no", "timeout: took too long"]
    assert not any(map(os.path.exists, folders(built)))


def test_it_is_removed_when_running_is_interrupted(mod):
    built = build_all([mod], TARGET, Builder())

    class Broken:
        def run(self, inputs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(built, [ArgInfo.from_entry_func(mod)], TARGET, Broken())
    assert not any(map(os.path.exists, folders(built)))


def test_nothing_is_asked_of_builder_and_runner_for_nothing():
    assert build_all([], TARGET, None) == []
    assert run_all([], [], TARGET, None) == []


def test_a_builder_that_gives_no_result_for_some_is_an_error(mod):
    class Forgetful:
        def build(self, inputs):
            return Builder().build(inputs)[:-1]

    with pytest.raises(RuntimeError, match="a result for each of 3 candidates of the builder, got"):
        build_all([mod] * 3, TARGET, Forgetful())
