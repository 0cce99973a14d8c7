"""Affine forms and the solver on their own, without TVM programs where none is needed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mschedx.space.algebra.expression import (
    add,
    ceil_div,
    column,
    constant,
    monomial,
    multiply,
    where_at_most,
    where_divides,
)
from mschedx.space.analysis.fit.integers import Solver
from mschedx.space.analysis.read.affine import Affine, Division, evaluate, sweep


def tiles(extent: int, parts: int) -> np.ndarray:
    divisors = [d for d in range(1, extent + 1) if extent % d == 0]
    rows = [r for r in itertools.product(divisors, repeat=parts) if np.prod(r) == extent]
    return np.array(rows, dtype=np.int64)


@pytest.fixture(scope="module")
def configs() -> np.ndarray:
    rng = np.random.default_rng(0)
    a, b = tiles(64, 3), tiles(36, 3)
    lanes = rng.choice([1, 2, 3, 4], size=(60, 1))
    picks = a[rng.integers(len(a), size=60)], b[rng.integers(len(b), size=60)], lanes
    return np.concatenate(picks, axis=1)


@pytest.fixture
def solver(configs) -> Solver:
    return Solver(configs, [(0, 1, 2), (3, 4, 5)], [6])


@pytest.mark.parametrize(
    "expression",
    [
        constant(7),
        column(3),
        monomial(2, {1: 1, 2: 1, 4: 1}),
        monomial(1, {0: 1, 1: 1}),
        monomial(3, {2: 2}),
        ceil_div(1000, column(6)),
    ],
    ids=str,
)
def test_solver_finds(solver, configs, expression):
    found = solver.solve(expression(configs))
    grid = np.concatenate([configs[::-1], configs])
    np.testing.assert_array_equal(found(grid), expression(grid))


def test_solver_finds_behind_a_mask(solver, configs):
    expression = monomial(1, {4: 1, 5: 1})
    mask = configs[:, 3] > 1
    values = np.where(mask, expression(configs), 0)
    np.testing.assert_array_equal(solver.solve(values, mask)(configs), expression(configs))


def test_solver_composes_and_never_guesses(solver, configs):
    window = add(column(1), column(4), -1)
    values = window(configs)
    assert solver.solve(values) is None
    assert solver.solve(values, recipes=[lambda: None, lambda: column(1)]) is None
    assert solver.solve(values, recipes=[lambda: window]) == window
    assert solver.solve(values) == window  # remembered


@pytest.mark.parametrize("observations", range(1, 20))
@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        # Five unknowns (two free factors a tile, the lanes), a coefficient, six to spare.
        (monomial(1, {1: 1, 4: 1}), 12),
        # One tile's two free factors, a coefficient, six to spare.
        (monomial(3, {2: 2}), 9),
    ],
    ids=str,
)
def test_solver_finds_as_soon_as_there_is_evidence(configs, expression, wanted, observations):
    varied = configs[np.argsort(expression(configs) == expression(configs)[0], kind="stable")]
    solver = Solver(varied, [(0, 1, 2), (3, 4, 5)], [6])
    mask = np.arange(len(varied)) < observations
    found = solver.solve(np.where(mask, expression(varied), 0), mask)
    if observations >= wanted:
        assert found is not None
        np.testing.assert_array_equal(found(varied), expression(varied))
    elif len(set(expression(varied)[mask])) > 1:
        assert found is None


def test_solver_finds_nothing_where_nothing_is_seen(solver, configs):
    nowhere = np.zeros(len(configs), dtype=bool)
    assert solver.solve(np.zeros(len(configs)), nowhere) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=3, max_size=3),
    st.lists(st.integers(0, 8), min_size=3, max_size=3),
    st.integers(1, 8),
    st.booleans(),
    st.sets(st.integers(0, 2)),
)
def test_sweep_equals_enumeration(extents, coefficients, divisor, remainder, free):
    """The widest range over all places of the fixed loops; so few loops it can always tell."""
    inner = Affine(0, tuple((i, c) for i, c in enumerate(coefficients) if c))
    form = Affine(0, ((Division(inner, divisor, remainder), 1),))
    sizes = dict(enumerate(extents))
    got = sweep(form, sizes, frozenset(free))
    fixed = [i for i in range(3) if i not in free]
    widths = []
    for place in itertools.product(*(range(extents[i]) for i in fixed)):
        values = [
            evaluate(form, {**dict(zip(fixed, place)), **dict(zip(sorted(free), moving))})
            for moving in itertools.product(*(range(extents[i]) for i in sorted(free)))
        ]
        widths.append(max(values) - min(values))
    assert got == max(widths)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 40))
def test_conditions_choose(a, b, limit):
    x = np.array([[a, b]], dtype=np.int64)
    product = monomial(1, {0: 1, 1: 1})
    assert where_at_most(product, limit, column(0), 1)(x)[0] == (a if a * b <= limit else 1)
    assert where_divides(column(1), column(0), column(1), 1)(x)[0] == (b if a % b == 0 else 1)


def test_conditions_fold():
    assert where_at_most(3, 4, column(0), 1) == column(0)
    assert where_at_most(5, 4, column(0), 1) == constant(1)
    assert where_at_most(column(0), 4, column(1), column(1)) == column(1)
    assert where_divides(1, column(0), column(0), 7) == column(0)
    assert where_divides(3, 7, column(0), 7) == constant(7)


def test_one_illegible_program_costs_no_expression(configs):
    solver = Solver(configs, [(0, 1, 2), (3, 4, 5)], [6])
    window = solver.learn(add(column(1), column(4), constant(-1)))
    values = window(configs)
    legible = np.ones(len(configs), dtype=bool)
    legible[7] = False
    values[7] = -1
    assert solver.solve(values, legible) == window
    legible[: len(configs) // 2] = False
    assert solver.solve(values, legible) is None, "half of the programs are no evidence"


def test_what_is_composed_behind_a_nearly_whole_mask_is_known_from_then_on(configs):
    solver = Solver(configs, [(0, 1, 2), (3, 4, 5)], [6])
    window = add(multiply(2, column(2)), column(5), constant(-1))
    values, legible = window(configs), np.ones(len(configs), dtype=bool)
    assert solver.solve(values) is None
    legible[7] = False
    assert solver.solve(values, legible, [lambda: window]) == window
    assert solver.solve(values) == window


@pytest.mark.parametrize("seed", range(20))
def test_what_is_lacking_is_what_ranks_say(configs, seed):
    rng = np.random.default_rng(seed)
    solver = Solver(configs, [(0, 1, 2), (3, 4, 5)], [6])
    mask = rng.random(len(configs)) < rng.choice([0.1, 0.3, 0.9])
    mask &= (configs[:, rng.integers(6)] == 1) | (seed % 2 == 0)  # and so a direction less
    others = configs[rng.permutation(len(configs))[: rng.integers(1, 30)]]
    mask[0] = True

    def rank(rows):
        return np.linalg.matrix_rank(np.column_stack([np.ones(len(rows)), np.log(rows)]))

    both = rank(np.concatenate([configs[mask], others]))
    expected = max(both - rank(configs[mask]), both + 6 - mask.sum(), 0)
    assert solver.lacking(mask, others) == expected
