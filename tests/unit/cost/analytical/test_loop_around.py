"""Loads that LLVM moves out of the loop around a tile, as far as there are registers."""

import numpy as np

from mschedx.cost.analytical.loop_around import LoopAround


def test_what_has_registers_is_loaded_once():
    around = LoopAround(np.zeros(4, dtype=int), np.array([10.0, 10.0, 10.0, 1.0]))
    kept, room = np.array([8.0, 8.0, 8.0, 8.0]), np.array([8.0, 4.0, -3.0, 8.0])
    np.testing.assert_allclose(around.share(kept, room), [0.1, 0.55, 1.0, 1.0])


def test_nothing_to_keep_asks_for_no_registers():
    around = LoopAround(np.zeros(1, dtype=int), np.array([10.0]))
    assert around.share(np.zeros(1), np.array([20.0])) > 0
