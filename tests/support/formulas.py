"""Random expressions, and what they mean in Python's own integers."""

from __future__ import annotations

import math

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
    floor_div,
    maximum,
    minimum,
    monomial,
    multiply,
    where_at_most,
    where_divides,
)

D = 4
LARGEST = 12
TABLE = tuple((v, 7 * v % 5 + 1) for v in range(1, LARGEST + 1))


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
leaves = monomials | st.just(Lookup(0, TABLE))
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
rows = st.lists(st.integers(1, LARGEST), min_size=D, max_size=D)
configs = st.lists(rows, min_size=1, max_size=6)
