"""Expressions evaluated together equal the same expressions evaluated one by one."""

from __future__ import annotations

import numpy as np

from mschedx.space.algebra.bulk import Bulk
from mschedx.space.algebra.expression import (
    Lookup,
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

WINDOW = add(monomial(2, {0: 1, 2: 1}), column(1), -2)
EXPRESSIONS = [
    constant(7),
    column(2),
    monomial(1, {0: 1, 1: 1}),
    monomial(3, {0: 1, 1: 1, 2: 2}),
    WINDOW,
    multiply(WINDOW, column(3)),
    ceil_div(WINDOW, 4),
    floor_div(WINDOW, column(1)),
    minimum(WINDOW, 9, column(3)),
    maximum(WINDOW, column(3)),
    where_at_most(WINDOW, column(3), column(0), WINDOW),
    where_divides(column(1), WINDOW, 1, ceil_div(WINDOW, 4)),
    Lookup(3, ((1, 10), (5, 11), (6, 2))),
    WINDOW,
]


def test_bulk_equals_single():
    rng = np.random.default_rng(3)
    configs = rng.integers(1, 9, size=(5000, 4))
    configs[:, 3] = rng.choice([1, 5, 6], size=5000)
    together = Bulk(EXPRESSIONS)(configs)
    assert together.shape == (len(EXPRESSIONS), 5000)
    for expression, values in zip(EXPRESSIONS, together):
        np.testing.assert_array_equal(values, expression(configs))


def test_bulk_of_nothing():
    configs = np.ones((3, 2), dtype=np.int64)
    assert Bulk([])(configs).shape == (0, 3)
    assert Bulk(EXPRESSIONS[:2])(np.ones((0, 4), dtype=np.int64)).shape == (2, 0)
    assert Bulk([constant(4)])(configs).tolist() == [[4, 4, 4]]
