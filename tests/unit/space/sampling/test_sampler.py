"""The sampler against brute force."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hash_seeds import printed_under_hash_seeds
from heron_spaces import Builder, product
from random_spaces import brute_force, random_space
from scipy import stats

from mschedx.space.algebra.constraints import at_least, at_most, equal, multiple_of
from mschedx.space.algebra.expression import Lookup, column
from mschedx.space.errors import EmptySpace, SparseSpace
from mschedx.space.sampling import join
from mschedx.space.sampling.counted_states import Leaf, make_pairs
from mschedx.space.trace.factors import factorizations


def as_set(configs: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, configs.tolist()))


@pytest.mark.parametrize("seed", range(60))
def test_counts_and_support_equal_brute_force(seed):
    builder = random_space(seed)
    expected = brute_force(builder)
    sampler = builder.sampler()
    assert sampler.count() == len(expected)
    assert as_set(np.concatenate([*sampler.every(), expected[:0]])) == as_set(expected)
    if len(expected):
        drawn = sampler.sample(200, np.random.default_rng(seed))
        assert sampler.is_valid(drawn).all()
        assert as_set(drawn) <= as_set(expected)
    else:
        with pytest.raises(EmptySpace, match="no config is valid"):
            sampler.sample(1, np.random.default_rng(seed))


def sums_space() -> Builder:
    """Two sums of products that couple three axes, as shared memory does."""
    builder = Builder()
    i, j = builder.table(factorizations(24, 3)), builder.table(factorizations(16, 3))
    k = builder.table(factorizations(12, 2))
    shared = product(i[1], i[2], k[1]) + product(j[1], j[2], k[1])
    builder.constraints += [
        at_most(shared, 48, "shared memory"),
        at_least(product(i[1], j[1]), 4, "threads"),
        multiple_of(product(i[1], i[2], k[1]), product(j[1]), "cooperative fetch"),
    ]
    return builder


def test_draws_are_uniform():
    builder = sums_space()
    expected = sorted(as_set(brute_force(builder)))
    drawn = builder.sampler().sample(40 * len(expected), np.random.default_rng(1))
    numbers = {config: n for n, config in enumerate(expected)}
    hits = np.bincount([numbers[tuple(c)] for c in drawn.tolist()], minlength=len(expected))
    assert stats.chisquare(hits).pvalue > 1e-3


def test_rejection_when_a_join_is_too_large(monkeypatch):
    builder = sums_space()
    expected = as_set(brute_force(builder))
    monkeypatch.setattr(join, "MAX_PAIRS", 200)
    sampler = builder.sampler()
    assert sampler.rejected
    assert 0 < sampler.acceptance < 1
    assert sampler.count() == len(expected)
    drawn = sampler.sample(40 * len(expected), np.random.default_rng(2))
    numbers = {config: n for n, config in enumerate(sorted(expected))}
    hits = np.bincount([numbers[tuple(c)] for c in drawn.tolist()], minlength=len(expected))
    assert stats.chisquare(hits).pvalue > 1e-3


def test_the_same_generator_draws_the_same_whatever_was_drawn_before(monkeypatch):
    monkeypatch.setattr(join, "MAX_PAIRS", 200)
    used, fresh = sums_space().sampler(), sums_space().sampler()
    assert used.rejected
    used.sample(1000, np.random.default_rng(1))
    used.sample(1, np.random.default_rng(2))
    drawn = [one.sample(64, np.random.default_rng(0)) for one in (fresh, used, fresh)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert used.acceptance == fresh.acceptance


def test_counts_beyond_64_bits_are_exact():
    builder = Builder()
    rows = factorizations(2**20, 5)
    columns = [builder.table(rows) for _ in range(6)]
    builder.constraints.append(at_most(product(*(c[4] for c in columns)), 2**4, "coupled"))
    exponent = np.bincount(np.log2(rows[:, 4]).astype(int)).tolist()
    ways = [1, 0, 0, 0, 0]
    for _ in range(6):
        ways = [sum(ways[a] * exponent[s - a] for a in range(s + 1)) for s in range(5)]
    sampler = builder.sampler()
    assert sum(ways) > 2**63
    assert sampler.count() == sum(ways)
    assert sampler.is_valid(sampler.sample(1000, np.random.default_rng(0))).all()


def test_untouched_tables_multiply():
    builder = Builder()
    builder.table(factorizations(2**20, 5))
    builder.table(factorizations(720720, 3))
    assert builder.sampler().count() == 10_626 * (15 * 6 * 3 * 3 * 3 * 3)


def test_no_table_is_one_empty_config():
    sampler = Builder().sampler()
    assert sampler.count() == 1
    assert sampler.sample(3, np.random.default_rng(0)).shape == (3, 0)
    assert sampler.is_valid(np.empty((3, 0), dtype=np.int64)).all()


def test_is_valid_checks_rows_and_constraints():
    builder = sums_space()
    sampler = builder.sampler()
    good = sampler.sample(50, np.random.default_rng(0))
    no_row = good.copy()
    no_row[:, 0] += 1
    broken = np.tile([1, 1, 24, 1, 1, 16, 1, 12], (2, 1))
    assert sampler.is_valid(good).all()
    assert not sampler.is_valid(no_row).any()
    assert not sampler.is_valid(broken).any()
    with pytest.raises(ValueError, match=r"expected configs \[n, 8\]"):
        sampler.is_valid(good[:, :5])


class TestEmptySpace:
    def test_names_the_one_constraint_and_by_how_much(self):
        builder = sums_space()
        builder.constraints.append(at_least(product(0, 1, 2), 30, "impossible"))
        with pytest.raises(EmptySpace, match=r"this constraint excludes every one") as error:
            builder.sampler().sample(1, np.random.default_rng(0))
        assert "impossible" in str(error.value)
        assert "shared memory" not in str(error.value)
        assert "short by at least" in str(error.value)

    def test_names_the_pair_that_conflicts(self):
        builder = Builder()
        i, j = builder.table(factorizations(8, 2)), builder.table(factorizations(8, 2))
        builder.constraints += [
            at_most(product(i[0], j[0]), 4, "few threads"),
            at_least(product(i[0], j[0]), 8, "many threads"),
            at_most(product(i[0]), 8, "harmless"),
        ]
        with pytest.raises(EmptySpace, match="these 2 constraints") as error:
            builder.sampler().sample(1, np.random.default_rng(0))
        assert "few threads" in str(error.value)
        assert "many threads" in str(error.value)
        assert "harmless" not in str(error.value)

    def test_a_table_without_rows(self):
        builder = Builder()
        builder.table(np.empty((0, 2)))
        assert builder.sampler().count() == 0
        with pytest.raises(EmptySpace, match="no row"):
            builder.sampler().sample(1, np.random.default_rng(0))


class TestRecombine:
    def test_children_are_uniform_over_what_the_keys_allow(self):
        builder = sums_space()
        sampler = builder.sampler()
        parents = sampler.sample(2, np.random.default_rng(3))
        keys = np.zeros(builder.width, dtype=bool)
        keys[[1, 4]] = True
        allowed = [
            c
            for c in sorted(as_set(brute_force(builder)))
            if all(c[d] in parents[:, d] for d in np.flatnonzero(keys))
        ]
        n = 60 * len(allowed)
        children = sampler.recombine(
            np.repeat(parents[None], n, axis=0), np.tile(keys, (n, 1)), np.random.default_rng(4)
        )
        numbers = {config: i for i, config in enumerate(allowed)}
        hits = np.bincount([numbers[tuple(c)] for c in children.tolist()], minlength=len(allowed))
        assert stats.chisquare(hits).pvalue > 1e-3

    def test_the_exact_path_is_uniform_too(self, monkeypatch):
        monkeypatch.setattr("mschedx.space.sampling.sampler._TRIES", ())
        self.test_children_are_uniform_over_what_the_keys_allow()

    def test_with_rejected_constraints(self, monkeypatch):
        monkeypatch.setattr(join, "MAX_PAIRS", 200)
        builder = sums_space()
        sampler = builder.sampler()
        rng = np.random.default_rng(0)
        parents = sampler.sample(200, rng).reshape(100, 2, -1)
        keys = rng.random((100, builder.width)) < 0.5
        children = sampler.recombine(parents, keys, rng)
        assert as_set(children) <= as_set(brute_force(builder))
        inherited = (children[:, None] == parents).any(axis=1)
        assert (inherited | ~keys).all()

    def test_bad_shapes_and_parents(self):
        builder = sums_space()
        sampler = builder.sampler()
        rng = np.random.default_rng(0)
        with pytest.raises(ValueError, match="expected parents"):
            sampler.recombine(sampler.sample(4, rng), np.ones((4, 8), dtype=bool), rng)
        with pytest.raises(ValueError, match="parents must be valid configs"):
            sampler.recombine(np.full((1, 2, 8), 5), np.ones((1, 8), dtype=bool), rng)
        assert sampler.recombine(np.empty((0, 2, 8)), np.empty((0, 8)), rng).shape == (0, 8)


def test_same_seed_same_configs_whatever_the_hash_seed():
    script = (
        "import numpy as np, zlib; from heron_spaces import tensor_core_gemm;"
        "x = tensor_core_gemm(64).sampler().sample(1000, np.random.default_rng(7));"
        "print(zlib.crc32(x.tobytes()))"
    )
    assert len(printed_under_hash_seeds(script)) == 1


def test_tables_must_cover_every_column_once():
    builder = sums_space()
    builder.width += 1
    with pytest.raises(ValueError, match="no table decides column 8"):
        builder.sampler()
    builder.tables.append(builder.tables[0])
    with pytest.raises(ValueError, match="more than one table"):
        builder.sampler()


def test_equal_and_lookup_constraints():
    builder = Builder()
    (choice,) = builder.table([2, 3, 5])
    i, j = builder.table(factorizations(30, 2)), builder.table(factorizations(30, 2))
    want = Lookup(choice, ((2, 6), (3, 9), (5, 10)))
    builder.constraints.append(equal(product(i[0], j[0]), want, "chosen"))
    expected = brute_force(builder)
    assert builder.sampler().count() == len(expected) > 0


def long_tables(limits) -> Builder:
    """Four tables of 2^16 values; the first two and the last two are bound in pairs."""
    builder = Builder()
    columns = [builder.table(np.arange(1, (1 << 16) + 1))[0] for _ in range(4)]
    builder.constraints += [at_most(column(c), m, "short") for c, m in zip(columns, limits)]
    a, b, c, d = columns
    builder.constraints.append(at_most(product(a, b), 8, "first two"))
    builder.constraints.append(at_most(product(c, d), 5000, "last two"))
    return builder


def test_few_configs_of_many_rows_are_counted(monkeypatch):
    """As many rows as no int64 could number, most of which no config takes."""
    monkeypatch.setattr(join, "MAX_PAIRS", 100)
    sampler = long_tables((4, 4, 100, 100)).sampler()
    assert sampler.rejected
    pairs = [(a, b) for a in range(1, 5) for b in range(1, 5) if a * b <= 8]
    others = [(c, d) for c in range(1, 101) for d in range(1, 101) if c * d <= 5000]
    assert sampler.count() == len(pairs) * len(others)


def test_configs_that_cannot_be_numbered_are_not_counted(monkeypatch):
    """A part of the space has more combinations than an int64 holds, the whole has few."""
    monkeypatch.setattr("mschedx.space.sampling.counted_states.MAX_INT64", 64)
    monkeypatch.setattr(join, "MAX_INT64", 64)
    monkeypatch.setattr(join, "MAX_PAIRS", 200)
    sampler = sums_space().sampler()
    assert sampler.rejected
    assert sampler.count() is None
    assert sampler.is_valid(sampler.sample(500, np.random.default_rng(0))).all()


def test_a_rare_state_is_drawn_from_its_own_pairs():
    """Beside 2^70 combinations of other states, the one of a state of few is still its own."""
    huge = np.array([1 << 70, 3, 5], dtype=object)
    groups = np.zeros(3, dtype=np.int64)
    values = np.arange(3, dtype=np.int64)[:, None]

    def leaf(table: int, counts) -> Leaf:
        own = np.zeros(len(values), dtype=np.int64)
        order = np.arange(len(values))
        tables = frozenset({table})
        return Leaf(tables, {0: 0}, values, own, groups, counts, order, order)

    ones = np.array([1, 1, 1], dtype=object)
    sides = leaf(0, huge), leaf(1, ones)
    pairs = np.arange(3), np.arange(3)
    states = values, np.zeros(3, dtype=np.int64), groups
    joined = make_pairs(sides, pairs, {0: 0}, states)
    drawn: list[np.ndarray] = []
    sides[0].draw = lambda states, rng, rows: drawn.append(states)
    sides[1].draw = lambda states, rng, rows: drawn.append(states)
    asked = np.repeat(np.arange(3), 200)
    joined.draw(asked, np.random.default_rng(0), {})
    for found in drawn:
        np.testing.assert_array_equal(joined.values[asked, 0], values[found, 0])


def test_an_empty_space_has_no_acceptance(monkeypatch):
    """Two tables that conflict, beside two whose constraint is left to rejection."""
    monkeypatch.setattr(join, "MAX_PAIRS", 200)
    builder = long_tables((4, 4, 100, 100))
    i, j = builder.table(factorizations(8, 2)), builder.table(factorizations(8, 2))
    builder.constraints.append(at_most(product(i[0], j[0]), 4, "few"))
    builder.constraints.append(at_least(product(i[0], j[0]), 8, "many"))
    sampler = builder.sampler()
    assert sampler.rejected
    assert sampler.count() == 0
    with pytest.raises(EmptySpace, match="many"):
        _ = sampler.acceptance


@pytest.fixture
def few_draws(monkeypatch):
    """Of a sampler that rejects, 16,000 draws are worth a sample, judged after 1000."""
    monkeypatch.setattr(join, "MAX_PAIRS", 200)
    for name, value in (("_AT_ONCE", 500), ("_JUDGED_DRAWS", 1000), ("_MOST_DRAWS", 16_000)):
        monkeypatch.setattr(f"mschedx.space.sampling.sampler.{name}", value)


@pytest.fixture
def rare(few_draws):
    return sums_space().sampler()


def test_a_sample_that_would_take_too_many_draws_is_refused(rare):
    share = rare.acceptance
    wanted = int(32_000 * share)
    with pytest.raises(SparseSpace, match=rf"{wanted} configs can be drawn, got \d+ in") as refused:
        rare.sample(wanted, np.random.default_rng(0))
    found, tried = map(int, re.findall(r"got (\d+) in (\d+) draws", str(refused.value))[0])
    assert tried <= 2000
    assert found / tried == pytest.approx(share, rel=0.3)
    assert all(str(constraint) in str(refused.value) for constraint in rare.rejected)


def test_a_sample_that_takes_many_draws_and_not_too_many_is_drawn(rare):
    wanted = int(8000 * rare.acceptance)
    drawn = rare.sample(wanted, np.random.default_rng(0))
    assert len(drawn) == wanted
    assert rare.is_valid(drawn).all()


def test_that_no_draw_was_valid_does_not_say_that_nothing_is(few_draws):
    builder = sums_space()
    left = builder.constraints[0].left
    builder.constraints[0] = equal(left, 31, "no such sum of divisors")
    sampler = builder.sampler()
    assert builder.constraints[0] in sampler.rejected
    with pytest.raises(SparseSpace, match=r"none of \d+ draws satisfies\n.*no such sum"):
        sampler.sample(1, np.random.default_rng(0))
