"""Expressions: exact on integers; what is known folds; formulas read well."""

from __future__ import annotations

import numpy as np
import pytest
from formulas import D, configs, expressions, monomials, reference
from hypothesis import given, settings

from mschedx.space.algebra.expression import (
    Lookup,
    add,
    ceil_div,
    column,
    constant,
    constant_value,
    floor_div,
    if_one,
    indicator,
    maximum,
    minimum,
    monomial,
    multiply,
    where_at_most,
)


@given(expressions, configs)
@settings(max_examples=150, deadline=None)
def test_numpy_equals_the_definition(e, rows):
    assert e(np.array(rows)).tolist() == [reference(e, row) for row in rows]


@given(expressions, configs)
@settings(max_examples=80, deadline=None)
def test_only_the_columns_matter(e, rows):
    changed = np.array(rows)
    for c in set(range(D)) - e.columns:
        changed[:, c] = changed[:, c] % 12 + 1
    assert np.array_equal(e(changed), e(np.array(rows)))


@given(monomials, monomials)
@settings(deadline=None)
def test_exact_division_cancels(a, b):
    assert floor_div(multiply(a, b), b) == a
    assert ceil_div(multiply(a, b), b) == a


def test_formulas():
    names = ["h.1", "kh.0", "w", "k"]
    assert add(multiply(2, column(0)), column(1), -2).format(names) == "(2·h.1 + kh.0 - 2)"
    assert ceil_div(column(2), column(3)).format(names) == "⌈w / k⌉"
    assert str(minimum(column(0), 3)) == "min(x0, 3)"
    assert str(monomial(4, {1: 2, 0: 1})) == "4·x0·x1^2"


def test_folding():
    assert add(column(0), multiply(-1, column(0))) == constant(0)
    assert minimum(3, 5) == constant(3)
    assert constant_value(minimum(3, 5)) == 3
    assert maximum(column(0), column(0)) == column(0)
    assert ceil_div(7, 2) == constant(4)
    assert multiply(0, add(column(0), 1)) == constant(0)
    assert where_at_most(1, 2, column(0), column(1)) == column(0)


def test_values_outside_a_lookup_are_refused():
    with pytest.raises(ValueError, match="outside"):
        Lookup(0, ((1, 2), (4, 8)))(np.array([[3]]))


def test_negative_exponents_are_refused():
    with pytest.raises(ValueError, match="exponents >= 0"):
        monomial(1, {0: -1})


def test_indicators_are_one_where_they_hold_and_choose():
    rows = np.array([[1, 4], [4, 4], [5, 4]])
    holds = indicator(column(0), column(1))
    assert holds(rows).tolist() == [1, 1, 0]
    assert if_one(holds, column(0), 7)(rows).tolist() == [1, 4, 7]
    assert indicator(3, 2) == constant(0)
    assert if_one(constant(1), column(0), 7) == column(0)
