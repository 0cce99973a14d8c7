"""Constraints: what they hold for and how they read."""

from __future__ import annotations

import numpy as np
import pytest

from mschedx.space.algebra.constraints import Relation, at_least, at_most, equal, multiple_of
from mschedx.space.algebra.expression import column, monomial

CONFIGS = np.array([[a, b] for a in range(1, 7) for b in range(1, 7)])
A, B = CONFIGS.T


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (at_most, A * B <= 6),
        (at_least, A * B >= 6),
        (equal, A * B == 6),
        (multiple_of, A * B % 6 == 0),
    ],
)
def test_relations_with_a_constant(make, expected):
    constraint = make(monomial(1, {0: 1, 1: 1}), 6, "test")
    assert np.array_equal(constraint.holds(CONFIGS), expected)
    assert constraint.columns == {0, 1}


def test_both_sides_may_vary():
    assert np.array_equal(multiple_of(column(0), column(1), "").holds(CONFIGS), A % B == 0)
    assert np.array_equal(at_most(column(0), column(1), "").holds(CONFIGS), A <= B)


def test_reads_like_a_formula_with_its_origin():
    threads = at_most(monomial(1, {0: 1, 1: 1}), 1024, "threads per block")
    assert str(threads) == "x0·x1 <= 1024    [threads per block]"
    fetch = multiple_of(column(0), column(1), "cooperative fetch")
    assert str(fetch) == "x0 % x1 == 0    [cooperative fetch]"


def test_every_relation_is_told_apart():
    kinds = {make(column(0), 1, "").relation for make in (at_most, at_least, equal, multiple_of)}
    assert kinds == set(Relation)
