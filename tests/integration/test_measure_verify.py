"""Verification finds wrong schedules and only those."""

import time

import numpy as np
import pytest
import tvm
from programs_to_measure import (
    GPU,
    TARGET,
    aborts,
    add_one,
    far_rows,
    gemm,
    module,
    quotients,
    threads_bound,
    tiled,
)
from tvm import te, tirx
from tvm.s_tir import Schedule
from tvm.script import tirx as T

from mschedx import compat
from mschedx.measure import verification, verification_jobs, verify
from mschedx.measure.failures import MachineTrouble
from mschedx.measure.pool import JobOutcome


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


@pytest.mark.parametrize("make", [quotients, far_rows])
def test_what_divides_or_indexes_by_an_argument_is_verified(make):
    mod = make()
    sch = Schedule(mod)
    sch.parallel(sch.get_loops(sch.get_sblock("C"))[0])
    result = verify(sch, mod, TARGET)
    assert result.ok, result.reason


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
    assert result.ran
    assert "differ" in result.reason
    assert result.max_error > result.tolerance > 0


def test_a_candidate_that_crashes_is_wrong_and_a_reference_that_does_is_nothing():
    crashed = verify(aborts, add_one, TARGET)
    assert (crashed.ok, crashed.checked, crashed.ran) == (False, True, False)
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


@pytest.mark.parametrize("why", ["timeout: stopped after 120 s", "memory: stopped at 9 MiB"])
def test_a_candidate_that_meets_a_limit_is_not_checked(tmp_path, monkeypatch, why):
    expected = tmp_path / "expected.npz"

    def carry_out(config, jobs, **_):
        (job,) = (make() for make in jobs)
        if job.function is not verification_jobs.run_reference:
            return [JobOutcome(error=why)]
        expected.touch()
        return [JobOutcome(value=str(expected))]

    monkeypatch.setattr(verification, "carry_out", carry_out)
    result = verify(add_one, add_one, TARGET)
    assert (result.ok, result.checked, result.ran) == (False, False, False)
    assert why in result.reason


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


def test_something_that_is_no_program_is_refused():
    with pytest.raises(TypeError, match="Schedule"):
        verify(3, add_one, TARGET)


@pytest.mark.performance
def test_a_naive_reference_of_a_large_gemm_is_quick_enough():
    mod = gemm(1024)
    verify(module(add_one), module(add_one), TARGET)
    start = time.monotonic()
    assert verify(tiled(mod), mod, TARGET).ok
    assert time.monotonic() - start < 30


def test_the_expected_results_go_also_where_the_candidate_cannot_be_run(tmp_path, monkeypatch):
    expected = tmp_path / "expected.npz"

    def carry_out(config, jobs, **_):
        (job,) = (make() for make in jobs)
        if job.function is not verification_jobs.run_reference:
            raise MachineTrouble("no file handles")
        expected.touch()
        return [JobOutcome(value=str(expected))]

    monkeypatch.setattr(verification, "carry_out", carry_out)
    result = verify(add_one, add_one, TARGET)
    assert (result.ok, result.checked) == (False, False)
    assert "no file handles" in result.reason
    assert not expected.exists()


def test_expected_results_find_a_place_where_a_cleaner_has_been(tmp_path):
    texts = tvm.ir.save_json(gemm(16)), tvm.ir.save_json(TARGET)
    path = verification_jobs.run_reference(*texts, 0, str(tmp_path / "gone"))
    assert path.startswith(str(tmp_path / "gone"))


def compared_gemm(order, last):
    """A product that is summed in some order, and what is made of every element."""
    a, b = (te.placeholder((256, 512), name=name) for name in "AB")
    k = te.reduce_axis((0, 512), name="k")
    c = te.compute((256, 256), lambda i, j: te.sum(a[i, order(k)] * b[j, order(k)], axis=k))
    return module(te.create_prim_func([a, b, te.compute((256, 256), lambda i, j: last(c[i, j]))]))


def test_integers_that_another_order_of_a_sum_rounds_otherwise_are_right():
    def rounded(order):
        return compared_gemm(order, lambda x: tirx.round(x * 1000.0).astype("int32"))

    mod = rounded(lambda k: k)
    found = verify(rounded(lambda k: 511 - k), mod, TARGET)
    assert found.ok
    assert found.max_error == 1
    wrong = verify(rounded(lambda k: k // 2), mod, TARGET)
    assert (wrong.ok, wrong.checked) == (False, True)
    assert "integers that floats were rounded to differ by more than 1" in wrong.reason


def test_what_floats_decide_by_comparison_is_not_said_to_be_wrong():
    def positive(order):
        return compared_gemm(order, lambda x: x > 0)

    found = verify(positive(lambda k: k // 2), positive(lambda k: k), TARGET)
    assert (found.ok, found.checked, found.ran) == (False, False, True)
    assert "rounding may have decided" in found.reason


def test_a_program_whose_results_are_nan_is_not_verified():
    x = te.placeholder((64,), name="X")
    mod = module(te.create_prim_func([x, te.compute((64,), lambda i: te.log(x[i] - 2.0))]))
    found = verify(mod, mod, TARGET)
    assert (found.ok, found.checked) == (False, False)
    assert "64 of 64 values are NaN or infinite for the inputs tried" in found.reason
