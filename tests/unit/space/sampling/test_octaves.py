"""Distances between values whose ratios matter."""

import numpy as np

from mschedx.space.sampling.octaves import distances, octaves

TILES = np.array([[1, 8], [2, 4], [4, 2], [8, 1]])
CHOICES = np.array([[-1], [0], [3]])


def test_a_factor_of_two_is_one_wherever_it_is():
    logs = octaves(TILES, TILES)
    assert logs.tolist() == [[0, 3], [1, 2], [2, 1], [3, 0]]
    assert octaves(TILES, [[0.5, 16.0]]).tolist() == [[-1, 4]]


def test_a_column_with_0_is_one_more_and_what_is_below_0_as_it_is():
    assert octaves(CHOICES, CHOICES).tolist() == [[-1], [0], [2]]


def test_what_should_be_positive_is_far_but_not_infinitely():
    assert octaves(TILES, [[0.0, 1.0]]).tolist() == [[-16, 0]]


def test_distances_are_sums_over_columns():
    logs = octaves(TILES, TILES)
    expected = np.abs(logs[:, None] - logs[None]).sum(axis=2)
    assert distances(logs, logs).tolist() == expected.tolist()
    assert distances(logs[:0], logs).shape == (0, 4)
