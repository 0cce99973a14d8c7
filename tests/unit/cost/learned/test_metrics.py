import math

import numpy as np
import pytest
from scipy import stats

from mschedx.cost.learned.metrics import (
    best_k,
    pairwise_accuracy,
    rank_correlation,
    recall,
    top_k_mean,
    top_k_sum,
)

FAST = (np.array([1.0, 2.0, 4.0]), np.array([3.0, 2.0, 1.0]))
LONG = (np.array([10.0, 20.0, np.inf]), np.array([1.0, 2.0, 3.0]))


def test_pairs():
    assert pairwise_accuracy(*FAST) == 1.0
    assert pairwise_accuracy(*LONG) == 0.0
    assert pairwise_accuracy(FAST[0], np.zeros(3)) == 0.5
    assert math.isnan(pairwise_accuracy(np.ones(3), np.arange(3.0)))


def test_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    latency_s, scores = rng.integers(1, 9, 40).astype(float), rng.integers(0, 5, 40).astype(float)
    wanted = stats.spearmanr(-latency_s, scores).statistic
    assert rank_correlation(latency_s, scores) == pytest.approx(wanted)
    assert math.isnan(rank_correlation(np.ones(4), np.arange(4.0)))


def test_the_two_definitions_of_top_k_differ_by_what_long_tasks_count():
    assert top_k_mean([FAST, LONG], 2) == pytest.approx((1 + 0.5) / 2)
    assert top_k_sum([FAST, LONG], 2) == pytest.approx((1 + 10) / (1 + 20))
    assert top_k_sum([FAST, LONG], 2, [10, 1]) == pytest.approx((10 + 10) / (10 + 20))
    assert top_k_sum([LONG], 1) == 0.0


def test_best_k_asks_what_a_draft_holds():
    assert best_k([FAST], 2, 1) == 1.0
    assert best_k([FAST], 2, 2) == 0.5
    assert best_k([LONG], 2, 1) == 0.5
    assert best_k([FAST, LONG], [1, 2], 1) == pytest.approx((1 + 10) / (1 + 20))
    assert best_k([FAST, LONG], [1, 3], 1) == 1.0


def test_tasks_of_which_nothing_ran_count_for_nothing():
    failed = (np.full(3, np.inf), np.arange(3.0))
    assert top_k_mean([FAST, failed], 1) == 1.0
    assert math.isnan(top_k_sum([failed], 1))
    assert math.isnan(recall(*failed, 2, 2))


def test_recall():
    assert recall(*FAST, kept=1, best=2) == 0.5
    assert recall(*LONG, kept=2, best=2) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pairwise_accuracy(np.ones(2), np.ones(3)), "expected latencies"),
        (lambda: recall(np.ones(2), np.array([1.0, np.nan]), 1, 1), "got nan for 1 of 2"),
        (lambda: top_k_mean([FAST], 0), "at least 1"),
        (lambda: top_k_sum([FAST], 1, [1, 2]), "expected a weight per task"),
    ],
)
def test_nonsense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
