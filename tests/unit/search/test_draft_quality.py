import math

import numpy as np
import pytest

from mschedx.search.draft_quality import DraftQuality

SECONDS = np.arange(1.0, 41.0)


def test_a_perfect_draft_needs_a_quarter_and_a_reversed_one_nearly_all():
    perfect = DraftQuality.of(SECONDS, -SECONDS)
    assert (perfect.trials, perfect.correlation) == (40, pytest.approx(1.0))
    assert perfect.needed == 9 / 40
    reversed_ = DraftQuality.of(SECONDS, SECONDS)
    assert reversed_.correlation == pytest.approx(-1.0)
    assert reversed_.needed == 39 / 40


def test_a_draft_that_knows_nothing_needs_about_nine_tenths():
    rng = np.random.default_rng(0)
    needed = [DraftQuality.of(SECONDS, rng.random(40)).needed for _ in range(200)]
    assert 0.75 < np.mean(needed) < 0.95


def test_failed_trials_do_not_count():
    seconds = np.where(SECONDS > 30, np.inf, SECONDS)
    assert DraftQuality.of(seconds, -SECONDS) == DraftQuality.of(SECONDS[:30], -SECONDS[:30])
    nothing = DraftQuality.of(np.full(3, np.inf), np.arange(3.0))
    assert nothing.trials == 0
    assert math.isnan(nothing.correlation)


@pytest.mark.parametrize(
    ("quality", "quota"),
    [
        (DraftQuality(40, 0.9, 0.25), 512),
        (DraftQuality(40, 0.3, 0.75), 768),
        (DraftQuality(40, 0.01, 1.0), 1000),
        (DraftQuality(40, -0.2, 1.0), 0),
        (DraftQuality(23, -0.2, 1.0), 512),
        (DraftQuality(40, math.nan, 1.0), 512),
    ],
)
def test_how_many_drafts_are_kept(quality, quota):
    assert quality.quota(512, 1000, least_trials=24, least_correlation=0.0) == quota
