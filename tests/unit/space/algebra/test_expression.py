"""Expressions: exact on integers, equal when relaxed, differentiable between."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mschedx.space.algebra.expression import (
    CeilDiv,
    Expression,
    FloorDiv,
    Lookup,
    Max,
    Min,
    Monomial,
    Product,
    Sum,
    Where,
    add,
    ceil_div,
    column,
    constant,
    floor_div,
    maximum,
    minimum,
    monomial,
    multiply,
    where_at_most,
    where_divides,
)

D = 4


def reference(e: Expression, config: list[int]) -> int:
    """Evaluate with Python integers, by the definitions."""
    if isinstance(e, Monomial):
        return e.coefficient * math.prod(config[c] ** p for c, p in e.exponents)
    if isinstance(e, Lookup):
        return dict(e.table)[config[e.column]]
    parts = [reference(part, config) for part in e.parts]
    if isinstance(e, Sum):
        return sum(parts)
    if isinstance(e, Product):
        return math.prod(parts)
    if isinstance(e, CeilDiv):
        return -(-parts[0] // parts[1])
    if isinstance(e, FloorDiv):
        return parts[0] // parts[1]
    if isinstance(e, Where):
        left, right, then, otherwise = parts
        return then if (left % right == 0 if e.divides else left <= right) else otherwise
    return {Min: min, Max: max}[type(e)](parts)


monomials = st.builds(
    monomial,
    st.integers(1, 5),
    st.dictionaries(st.integers(0, D - 1), st.integers(0, 2), max_size=3),
)
leaves = monomials | st.just(Lookup(0, tuple((v, 7 * v % 5 + 1) for v in range(1, 13))))
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(add, inner, inner),
        st.builds(multiply, inner, inner),
        st.builds(minimum, inner, inner),
        st.builds(maximum, inner, inner),
        st.builds(ceil_div, inner, monomials),
        st.builds(floor_div, inner, monomials),
        st.builds(where_at_most, inner, inner, inner, inner),
        st.builds(where_divides, monomials, inner, inner, inner),
    ),
    max_leaves=6,
)
configs = st.lists(st.lists(st.integers(1, 12), min_size=D, max_size=D), min_size=1, max_size=6)


@given(expressions, configs)
@settings(max_examples=150, deadline=None)
def test_numpy_equals_the_definition(e, rows):
    assert e(np.array(rows)).tolist() == [reference(e, row) for row in rows]


@given(expressions, configs)
@settings(max_examples=150, deadline=None)
def test_relaxation_equals_numpy_at_integers(e, rows):
    exact = e(np.array(rows))
    relaxed = e.relaxed(torch.tensor(rows, dtype=torch.float64)).numpy()
    assert np.allclose(relaxed, exact, rtol=1e-9)


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


def test_gradients_of_smooth_expressions():
    window = add(multiply(column(0), 2), column(1), -2)
    e = add(multiply(window, column(2)), monomial(3, {0: 1, 3: 2}))
    x = torch.rand(5, D, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(e.relaxed, (x,))


def test_gradients_pass_straight_through_rounding():
    x = torch.tensor([[7.0, 2.0, 1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    ceil_div(column(0), column(1)).relaxed(x).sum().backward()
    assert x.grad is not None
    assert x.grad[0, :2].tolist() == [0.5, -7 / 4]


def test_formulas():
    names = ["h.1", "kh.0", "w", "k"]
    assert add(multiply(2, column(0)), column(1), -2).format(names) == "(2·h.1 + kh.0 - 2)"
    assert ceil_div(column(2), column(3)).format(names) == "⌈w / k⌉"
    assert str(minimum(column(0), 3)) == "min(x0, 3)"
    assert str(monomial(4, {1: 2, 0: 1})) == "4·x0·x1^2"


def test_folding():
    assert add(column(0), multiply(-1, column(0))) == constant(0)
    assert minimum(3, 5) == constant(3)
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
