import numpy as np
import pytest

from mschedx.search.pick import EpsilonGreedy, Greedy, GreedyThenRoulette, roulette

PICKS = {
    "greedy": Greedy(),
    "roulette": GreedyThenRoulette(0.0),
    "both": GreedyThenRoulette(0.6),
    "epsilon": EpsilonGreedy(0.25),
}


@pytest.mark.parametrize("name", PICKS)
@pytest.mark.parametrize(("size", "count"), [(50, 8), (5, 8), (8, 8), (1, 1), (3, 0)])
def test_every_rule_orders_all_positions_and_the_same_seed_gives_the_same_order(name, size, count):
    scores = np.random.default_rng(1).random(size)
    orders = [PICKS[name](scores, count, np.random.default_rng(2)) for _ in range(2)]
    assert np.array_equal(*orders)
    assert sorted(orders[0]) == list(range(size))


def test_greedy_shuffles_ties_only():
    scores = np.array([0.0, 5.0, 5.0, 5.0, 9.0])
    orders = {tuple(Greedy()(scores, 5, np.random.default_rng(seed))) for seed in range(60)}
    assert {order[0] for order in orders} == {4}
    assert {order[-1] for order in orders} == {0}
    assert len(orders) == 6


def test_a_share_is_taken_by_score_and_the_others_are_not_just_the_next_best():
    scores = np.arange(100.0)
    for pick, best in ((GreedyThenRoulette(0.6), 6), (EpsilonGreedy(0.4), 6)):
        orders = [pick(scores, 10, np.random.default_rng(seed)) for seed in range(20)]
        assert all(order[:best].tolist() == [99, 98, 97, 96, 95, 94] for order in orders)
        others = np.concatenate([order[best:10] for order in orders])
        assert len(np.unique(others)) > 40
        # Spares go on by score.
        assert all((np.diff(order[10:]) < 0).all() for order in orders)


def test_chance_is_weighted_by_score_in_one_and_not_in_the_other():
    scores = np.arange(100.0)
    means = []
    for pick in (GreedyThenRoulette(0.0), EpsilonGreedy(1.0)):
        drawn = [pick(scores, 10, np.random.default_rng(seed))[:10] for seed in range(200)]
        means.append(np.concatenate(drawn).mean())
    assert means[0] == pytest.approx(64, abs=4)
    assert means[1] == pytest.approx(49.5, abs=4)


@pytest.mark.parametrize("rule", [GreedyThenRoulette, EpsilonGreedy])
def test_shares_out_of_range_are_refused(rule):
    with pytest.raises(ValueError, match=rf"expected {rule.__name__}.* in \[0, 1\], got 1.5"):
        rule(1.5)


def test_the_roulette_prefers_in_proportion_to_the_distance_from_the_worst():
    rng = np.random.default_rng(0)
    drawn = roulette(np.array([1.0, 2.0, 4.0]), 40_000, rng, distinct=False)
    share = np.bincount(drawn, minlength=3) / 40_000
    assert np.allclose(share, [0, 0.25, 0.75], atol=0.01)
    assert sorted(roulette(np.array([1.0, 2.0, 4.0]), 3, rng, distinct=True)) == [0, 1, 2]
    assert np.bincount(roulette(np.ones(4), 4000, rng, distinct=False)).min() > 800
