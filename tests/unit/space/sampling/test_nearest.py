from types import SimpleNamespace

import numpy as np
import pytest
from dummy import gemm, target
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import ToySketch, factorizations

from mschedx.space import EmptySpace, sketches
from mschedx.space.algebra.constraints import at_most, equal, multiple_of
from mschedx.space.algebra.expression import column, constant, monomial
from mschedx.space.sampling.nearest import distance, nearest
from mschedx.space.sampling.sampler import Sampler


def sampler_of(tables, constraints):
    columns, places = 0, []
    for rows in tables:
        places.append(tuple(range(columns, columns + rows.shape[1])))
        columns += rows.shape[1]
    named = [SimpleNamespace(columns=c, rows=rows) for c, rows in zip(places, tables)]
    return Sampler(named, constraints, columns)


def least(sampler, wanted):
    """The true distance [n], by looking at every valid config."""
    every = np.concatenate(list(sampler.every()))
    return np.array(
        [distance(sampler, np.tile(row, (len(every), 1)), every).min() for row in wanted]
    )


@settings(max_examples=60, deadline=None)
@given(
    extents=st.lists(st.sampled_from([8, 12, 16, 24, 36]), min_size=2, max_size=3),
    limit=st.sampled_from([4, 12, 40, 200]),
    choices=st.sampled_from([(0, 16, 64), (1, 4, 8), (-2, -1, 3)]),
    aligned=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_is_valid_and_close_to_the_true_nearest(extents, limit, choices, aligned, seed):
    tables = [factorizations(extent, 2 if len(extents) == 3 else 3) for extent in extents]
    ends = np.cumsum([rows.shape[1] for rows in tables]) - 1
    tables.append(np.array(choices)[:, None])
    constraints = [at_most(monomial(1, {int(end): 1 for end in ends}), limit, "test")]
    if aligned:
        constraints.append(multiple_of(column(int(ends[0])), column(int(ends[1])), "test"))
    sampler = sampler_of(tables, constraints)
    rng = np.random.default_rng(seed)
    wanted = np.exp2(rng.uniform(-1, 6, (12, sampler.n_columns)))
    found = nearest(sampler, wanted, rng)
    assert found.dtype == np.int64
    assert sampler.is_valid(found).all()
    true = least(sampler, wanted)
    away = distance(sampler, wanted, found)
    assert (away >= true - 1e-9).all()
    assert (away <= 1.25 * true + 1e-9).all()


def test_valid_configs_are_their_own_answer():
    sketch = ToySketch()
    configs = sketch.space
    assert np.array_equal(sketch.nearest(configs, np.random.default_rng(0)), configs)
    blurred = configs * np.random.default_rng(1).uniform(0.95, 1.05, configs.shape)
    again = sketch.nearest(blurred, np.random.default_rng(0))
    assert (again == configs).all(axis=1).mean() > 0.99


def test_the_same_generator_gives_the_same_answer_and_no_rows_give_none():
    sketch = ToySketch(inner=4)
    wanted = np.exp2(np.random.default_rng(0).uniform(0, 6, (200, 8)))
    first, second = (sketch.nearest(wanted, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert sketch.nearest(np.empty((0, 8)), np.random.default_rng(0)).shape == (0, 8)


def test_without_decisions_the_only_config_is_the_nearest():
    found = nearest(Sampler([], [], 0), np.empty((2, 0)), np.random.default_rng(0))
    assert found.shape == (2, 0)


def test_where_no_near_row_is_valid_it_looks_farther():
    """One config in 160 000 is valid, far from what is asked for."""
    rows = np.arange(1, 401)[:, None]
    constraints = [equal(monomial(1, {0: 1, 1: 1}), 400 * 399, "test")]
    sampler = sampler_of([rows, rows], constraints)
    found = nearest(sampler, [[1.5, 1.0], [2.0, 300.0]], np.random.default_rng(0))
    assert {tuple(row) for row in found.tolist()} <= {(399, 400), (400, 399)}


@pytest.mark.parametrize("space", [None, "post-order-apply"])
def test_on_real_sketches_it_is_valid_and_beats_the_best_of_many_samples(space):
    rng = np.random.default_rng(0)
    for sketch in sketches(gemm(256, 256, 256), target(), space):
        configs = sketch.sample(20, rng)
        assert np.array_equal(sketch.nearest(configs, rng), configs)
        wanted = configs * np.exp2(rng.normal(0, 1, configs.shape))
        found = sketch.nearest(wanted, rng)
        assert sketch.is_valid(found).all()
        away = distance(sketch.sampler, wanted, found)
        drawn = sketch.sample(2000, rng)
        for row, here in zip(wanted, away):
            others = distance(sketch.sampler, np.tile(row, (2000, 1)), drawn)
            assert here <= others.min() + 1e-9
        # Their own origin is no nearer than what was found.
        assert (away <= distance(sketch.sampler, wanted, configs) + 1e-9).all()


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        (np.ones(8), r"expected configs \[n, 8\], got \(8,\)"),
        (np.ones((2, 7)), r"expected configs \[n, 8\], got \(2, 7\)"),
        (np.full((1, 8), np.nan), "finite values, got nan or inf"),
        (np.full((1, 8), np.inf), "finite values, got nan or inf"),
    ],
)
def test_bad_configs_are_refused(configs, message):
    with pytest.raises(ValueError, match=message):
        ToySketch().nearest(configs, np.random.default_rng(0))


def test_an_empty_space_says_why():
    rows = np.array([[2], [4]])
    sampler = sampler_of([rows], [at_most(column(0), 1, "too small")])
    with pytest.raises(EmptySpace, match="too small"):
        nearest(sampler, [[3.0]], np.random.default_rng(0))


def test_what_no_decision_can_satisfy_is_said():
    never = at_most(constant(2), 1, "test")
    sampler = sampler_of([np.array([[1], [2]])], [never])
    assert sampler.count() == 0
    with pytest.raises(EmptySpace, match="2 <= 1"):
        nearest(sampler, [[1.0]], np.random.default_rng(0))


def test_what_is_no_whole_number_is_not_valid():
    sampler = sampler_of([np.array([[1], [2]])], [])
    given = np.array([[1.0], [1.5], [2.0], [np.nan], [np.inf]])
    assert sampler.is_valid(given).tolist() == [True, False, True, False, False]
