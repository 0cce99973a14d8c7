"""Small spaces of tables and random constraints, and all of their configs."""

from __future__ import annotations

import itertools

import numpy as np
from heron_spaces import Builder

from mschedx.space.algebra.constraints import Constraint, Relation
from mschedx.space.algebra.expression import (
    CeilDiv,
    Expression,
    FloorDiv,
    Max,
    Min,
    Product,
    Sum,
    Where,
    add,
    column,
    constant,
    monomial,
)
from mschedx.space.trace.factors import factorizations


def brute_force(builder: Builder) -> np.ndarray:
    """Every valid config by trying all combinations of rows."""
    combinations = itertools.product(*(range(len(t.rows)) for t in builder.tables))
    picks = np.array(list(combinations), dtype=np.int64).reshape(-1, len(builder.tables))
    configs = np.empty((len(picks), builder.width), dtype=np.int64)
    for number, table in enumerate(builder.tables):
        configs[:, list(table.columns)] = table.rows[picks[:, number]]
    for constraint in builder.constraints:
        configs = configs[constraint.holds(configs)]
    return configs


def random_expression(rng: np.random.Generator, columns: list[int], depth: int) -> Expression:
    """Any kind of expression, positive where it divides."""
    kind = rng.integers(8) if depth else 0
    if kind <= 1:
        chosen = rng.choice(columns, size=rng.integers(1, 4))
        exponents: dict[int, int] = {}
        for c in chosen:
            exponents[int(c)] = exponents.get(int(c), 0) + 1
        return monomial(int(rng.integers(1, 4)), exponents)
    parts = [random_expression(rng, columns, depth - 1) for _ in range(int(rng.integers(2, 4)))]
    if kind == 2:
        return add(*parts, int(rng.integers(-3, 4)))
    if kind == 3:
        return Product((Sum(tuple(parts)), parts[0]))
    if kind == 4:
        return Min(tuple(parts)) if rng.random() < 0.5 else Max(tuple(parts))
    if kind == 5:
        return CeilDiv(parts[0], column(int(rng.choice(columns))))
    if kind == 6:
        return Where(parts[0], column(int(rng.choice(columns))), True, parts[1], constant(7))
    return Where(parts[0], parts[1], False, FloorDiv(parts[1], constant(2)), parts[0])


def random_space(seed: int) -> Builder:
    rng = np.random.default_rng(seed)
    builder = Builder()
    for _ in range(int(rng.integers(2, 5))):
        builder.table(factorizations(int(rng.choice([1, 3, 4, 6, 8])), int(rng.integers(1, 4))))
    builder.table(np.array([1, 2, 3]))
    columns = list(range(builder.width))
    for _ in range(int(rng.integers(1, 5))):
        left = random_expression(rng, columns, 2)
        relation = Relation(rng.choice([r.value for r in Relation]))
        right: Expression = constant(int(rng.integers(1, 40)))
        if relation is Relation.MULTIPLE or rng.random() < 0.4:
            right = column(int(rng.choice(columns)))
        builder.constraints.append(Constraint(left, relation, right, "random"))
    return builder
