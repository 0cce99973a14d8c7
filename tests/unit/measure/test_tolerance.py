"""The tolerance accepts another order of summation and refuses a wrong result."""

import math

import ml_dtypes
import numpy as np
import pytest

from mschedx.measure.provenance import Provenance
from mschedx.measure.tolerance import Precision, compare, epsilon

FLOATS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}


def test_epsilon_by_format():
    assert epsilon("float32") == 2.0**-23
    assert epsilon("float16") == 2.0**-10
    assert epsilon("bfloat16") == 2.0**-7
    assert epsilon("float64") == 2.0**-52
    assert epsilon("float8_e4m3fn") == 2.0**-3
    assert epsilon("int32") == epsilon("bool") == 0.0


def test_tolerance_is_the_formula():
    precision = Precision((("float32", 1024), ("float16", 9)), ("float32", "float16"))
    expected = 4 * (2.0**-23 * 32 + 2.0**-10 * 3) + 8 * 2.0**-10
    assert precision.relative_tolerance() == pytest.approx(expected)
    assert Precision((("int32", 64),), ("int32",)).relative_tolerance() == 0.0


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("terms", [16, 256, 4096])
def test_sums_in_two_orders_agree_in_every_format(dtype, terms):
    rng = np.random.default_rng(terms)
    a = rng.uniform(-1, 1, (400, terms)).astype(FLOATS[dtype])

    def accumulate(order):
        total = np.zeros(400, FLOATS[dtype])
        for k in order:
            total = (total + a[:, k]).astype(FLOATS[dtype])
        return total

    relative = Precision(((dtype, terms),), (dtype,)).relative_tolerance()
    found = compare(accumulate(range(terms)), accumulate(rng.permutation(terms)), relative)
    assert not found.reason
    assert 0 < found.max_error <= found.tolerance


def products(dtype, terms, rows=1000):
    """Products of random numbers in two orders, and the tolerance of their program."""
    rng = np.random.default_rng(terms)
    a = rng.uniform(-1, 1, (rows, terms)).astype(FLOATS[dtype])

    def multiplied(order):
        product = np.ones(rows, FLOATS[dtype])
        for k in order:
            product = (product * a[:, k]).astype(FLOATS[dtype])
        return product

    relative = Precision(((dtype, terms),), (dtype,), True).relative_tolerance()
    return multiplied(range(terms)), multiplied(rng.permutation(terms)), relative


@pytest.mark.parametrize(("dtype", "terms"), [("float32", 128), ("float16", 30)])
def test_products_below_the_smallest_normal_number_may_differ_by_some_of_its_steps(dtype, terms):
    one, other, relative = products(dtype, terms)
    found = compare(one, other, relative, multiplies=True)
    assert not (found.reason and found.shown), found.reason
    assert 0 < found.max_error <= found.tolerance


def test_of_products_that_are_all_zero_nothing_is_shown():
    one, other, relative = products("float32", 512)
    assert not one.any()
    found = compare(one, other, relative, multiplies=True)
    assert "all results are 0 or below" in found.reason
    assert not found.shown
    assert compare(one, other, relative).reason == "", "other zeros are results"
    assert compare(one + np.float32(1), other, relative, multiplies=True).shown


@pytest.mark.parametrize("terms", [16, 1024, 65536])
def test_a_missing_term_is_found_in_fp32(terms):
    rng = np.random.default_rng(terms)
    a = rng.uniform(-1, 1, (64, terms)).astype(np.float32)
    relative = Precision((("float32", terms),), ("float32",)).relative_tolerance()
    found = compare(a[:, 1:].sum(1), a.sum(1), relative)
    assert "values differ" in found.reason
    assert found.max_error > found.tolerance


def test_integers_must_be_equal():
    expected = np.arange(100, dtype=np.int32)
    assert compare(expected.copy(), expected, 1.0).reason == ""
    wrong = expected.copy()
    wrong[3] += 2
    found = compare(wrong, expected, 1.0)
    assert "1 of 100 integers" in found.reason
    assert found.max_error == 2
    extremes = np.array([-128, 127], np.int8)
    assert compare(extremes[::-1], extremes, 1.0).max_error == 255


def test_nan_and_infinity_must_meet_their_like():
    expected = np.array([1.0, np.nan, np.inf, -np.inf, 2.0, 3.0], np.float32)
    assert compare(expected.copy(), expected, 1e-6).reason == ""
    for index, value in [(1, 0.0), (2, -np.inf), (2, 5.0), (3, np.nan)]:
        wrong = expected.copy()
        wrong[index] = value
        found = compare(wrong, expected, 1e-6)
        assert "1 of 6 NaN or infinite" in found.reason
        assert math.isinf(found.max_error)


def test_a_nan_where_a_number_belongs_is_wrong():
    expected = np.ones(4, np.float32)
    wrong = expected.copy()
    wrong[2] = np.nan
    assert "1 of 4 values" in compare(wrong, expected, 1e-3).reason


def test_empty_and_zero_arrays_compare():
    empty = np.zeros((0, 3), np.float32)
    assert compare(empty, empty, 1e-6).reason == ""
    zeros = np.zeros(3, np.float32)
    assert compare(zeros, zeros, 1e-6).reason == ""
    assert compare(zeros + 1e-9, zeros, 1e-6).reason != ""


def rounded(off, error, size=100_000):
    """Evenly spread floats, and the same off by `error` of the largest, both rounded."""
    rng = np.random.default_rng(0)
    values = rng.uniform(-100, 100, size)
    moved = values + rng.uniform(-1, 1, size) * error * 100
    found, expected = np.round(moved + off).astype(np.int8), np.round(values).astype(np.int8)
    return found, expected


def test_integers_rounded_from_floats_may_differ_where_the_floats_may():
    found, expected = rounded(0, 1e-4)
    assert np.count_nonzero(found != expected) > 0
    difference = compare(found, expected, 1e-4, provenance=Provenance.ROUNDED)
    assert difference.reason == ""
    assert difference.max_error == 1.0
    assert "integers differ" in compare(found, expected, 1e-4).reason


def test_more_of_them_than_the_floats_explain_are_not_said_to_agree():
    found, expected = rounded(0, 1e-2)
    difference = compare(found, expected, 1e-4, provenance=Provenance.ROUNDED)
    assert "where rounding explains 2e+03" in difference.reason
    assert not difference.shown


def test_integers_rounded_from_floats_that_are_off_by_more_are_wrong():
    found, expected = rounded(2, 1e-4)
    difference = compare(found, expected, 1e-4, provenance=Provenance.ROUNDED)
    assert "differ by more than 1, up to" in difference.reason
    assert difference.shown


def test_places_that_differ_show_nothing_where_floats_decided_them():
    expected = np.arange(100)
    found = expected.copy()
    found[3] = 77
    assert compare(found, expected, 1e-4).shown
    assert not compare(found, expected, 1e-4, provenance=Provenance.DECIDED).shown
    assert compare(expected, expected, 1e-4, provenance=Provenance.DECIDED).reason == ""


@pytest.mark.parametrize(("useless", "shown"), [(40, True), (60, False)])
def test_equal_arrays_of_few_finite_values_show_nothing(useless, shown):
    values = np.linspace(1, 2, 100)
    values[:useless] = np.nan
    difference = compare(values, values.copy(), 1e-4)
    assert difference.shown is shown
    assert ("60 of 100 values are NaN or infinite" in difference.reason) is not shown


def test_a_number_for_nan_is_wrong_unless_nan_may_be_passed_over():
    found, expected = np.ones(4, np.float32), np.array([1, np.nan, 1, 1], np.float32)
    assert compare(found, expected, 1e-3).shown
    assert "1 of 4 NaN or infinite values differ" in compare(found, expected, 1e-3).reason
    passed = compare(found, expected, 1e-3, passes_nan=True)
    assert not passed.shown
    assert "1 of 4 values are numbers where NaN is expected" in passed.reason
