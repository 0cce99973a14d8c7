"""What the GPU is held against: exact products, and a check that finds what is wrong."""

import os

import numpy as np
import pytest
import tvm
from cuda_gemm import gemm
from gpu_checks import Case, Checker, exact_product, intrinsic_keys
from tvm.s_tir import Schedule
from tvm.target import Target

from mschedx.hardware import host_target
from mschedx.intrinsics.cuda import INTRINSICS

SIZES = 32, 24, 256


@pytest.fixture(scope="module")
def checker():
    made = Checker(host_target(), workers=1, compile_only=False)
    yield made
    made.close()


def kinds():
    """One intrinsic for each pair of types and storage of B."""
    return {(i.in_dtype, i.out_dtype, i.b_transposed): i for i in INTRINSICS}.values()


def test_numpy_and_an_unscheduled_gemm_agree_to_the_bit(checker):
    rng = np.random.default_rng(0)
    cases = {}
    for one in kinds():
        expected = checker.store(*exact_product(SIZES, one, rng))
        cases[str(one)] = Case(Schedule(gemm(*SIZES, one)), expected, 0.0)
    stored = set(os.listdir(checker.folder))
    records = list(checker.run(cases))
    assert len(records) == 10
    assert all(record["ok"] for record in records), records
    assert set(os.listdir(checker.folder)) == stored, "no copies for the jobs"


def test_one_wrong_element_is_found(checker):
    one = INTRINSICS[0]
    before, after = exact_product(SIZES, one, np.random.default_rng(0))
    after[2][3, 5] += 1
    case = Case(Schedule(gemm(*SIZES, one)), checker.store(before, after), 0.0)
    (record,) = checker.run({"wrong": case})
    assert not record["ok"]
    assert record["reason"].startswith("1 of 768 values differ")


def test_sums_of_256_products_have_no_rounding_in_float16():
    one = next(i for i in INTRINSICS if i.out_dtype == "float16")
    _, (a, b, c) = exact_product(SIZES, one, np.random.default_rng(0))
    b = b.T if one.b_transposed else b
    assert np.array_equal(c.astype(np.float64), a.astype(np.float64) @ b.astype(np.float64))


def test_the_reference_is_the_unscheduled_program(checker):
    mod = tvm.IRModule({"main": gemm(*SIZES, INTRINSICS[0])})
    path, relative = checker.reference(mod)
    (record,) = checker.run({"same": Case(Schedule(mod), path, relative)})
    assert record["ok"]
    assert 0 < relative < 1e-4


def test_keys_are_those_of_the_target():
    turing, ampere = (Target({"kind": "cuda", "arch": arch}) for arch in ("sm_75", "sm_80"))
    assert len(intrinsic_keys(ampere)) == 4 * len(INTRINSICS)
    assert set(intrinsic_keys(turing)) < set(intrinsic_keys(ampere))
