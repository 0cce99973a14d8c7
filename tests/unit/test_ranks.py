"""Two orders of the same things."""

import math

import numpy as np
import pytest
from scipy import stats

from mschedx.ranks import rank_correlation


def test_orders_that_agree_and_that_do_not():
    assert rank_correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, math.inf], [1, 2, 3]) == pytest.approx(1)
    assert math.isnan(rank_correlation([1, 1, 1], [3, 2, 1]))
    assert math.isnan(rank_correlation([], []))


def test_ties_share_their_places_as_scipys_do():
    rng = np.random.default_rng(0)
    one, other = rng.integers(1, 9, 40), rng.integers(0, 5, 40)
    wanted = stats.spearmanr(one, other).statistic
    assert rank_correlation(one, other) == pytest.approx(wanted)
