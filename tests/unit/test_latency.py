import math

import numpy as np
import pytest

from mschedx.latency import FAILED_S, latency_of, latency_s


@pytest.mark.parametrize(
    ("run_secs", "latency"),
    [([3.0, 1.0, 2.0], 2.0), ([4.0, 1.0], 2.5), ([1e-9], 1e-9), (np.array([2.0]), 2.0)],
)
def test_a_latency_is_the_median_of_repeats(run_secs, latency):
    assert latency_of(list(run_secs)) == latency


@pytest.mark.parametrize(
    "run_secs",
    [None, [], [FAILED_S], [1e9], [0.0], [-1.0], [math.nan], [1.0, math.inf], [FAILED_S, FAILED_S]],
)
def test_what_no_clock_shows_is_a_failure(run_secs):
    assert latency_of(run_secs) == math.inf


def test_an_error_outweighs_times():
    class Result:
        run_secs, error_msg = [1.0], "timeout: stopped"

    assert latency_s(Result()) == math.inf
    Result.error_msg = None
    assert latency_s(Result()) == 1.0
