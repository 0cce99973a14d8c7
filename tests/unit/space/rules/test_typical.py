"""Divisors that tiles and vectors are cut by."""

import pytest

from mschedx.space.rules.typical import divisor_between, largest_divisor, typical_tile


@pytest.mark.parametrize("extent", [1, 7, 12, 49, 56, 64, 1009])
@pytest.mark.parametrize(("least", "most"), [(1, 1), (1, 16), (4, 30), (9, 32), (5, 4)])
def test_a_divisor_between_is_the_largest_of_those_there_are(extent, least, most):
    there = [n for n in range(least, most + 1) if extent % n == 0]
    assert divisor_between(extent, least, most) == max(there, default=None)
    assert largest_divisor(extent, most) == max(n for n in range(1, most + 1) if extent % n == 0)


def test_a_typical_tile_is_near_the_root_or_what_is_allowed():
    assert typical_tile(56, 3) == [8, 1, 7]
    assert typical_tile(56, 3, 4) == [14, 1, 4]
    assert typical_tile(1009, 2) == [1009, 1]
    assert typical_tile(1, 2) == [1, 1]
