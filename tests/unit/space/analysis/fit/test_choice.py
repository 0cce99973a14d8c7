"""Configs that are replayed for what they show."""

import numpy as np
from analysed import designs

from mschedx.space.analysis.fit.choice import foreseen
from mschedx.space.analysis.fit.integers import Solver
from mschedx.space.analysis.read.probe import corner_configs, gather_few, random_configs

TILES = [(0, 1, 2), (3, 4)]


def drawn(count):
    rng = np.random.default_rng(0)
    seldom = rng.integers(0, 8, count) == 0
    first = np.where(seldom, 2, 1)
    middle = 2 ** rng.integers(0, 4, count)
    inner = 2 ** rng.integers(0, 5, count)
    return np.column_stack([1024 // first // middle, first, middle, 64 // inner, inner])


def test_what_is_chosen_leaves_no_factor_unseen():
    known, some = drawn(6), drawn(400)
    chosen = foreseen(TILES, [], known, some)
    together = np.concatenate([known, chosen])
    solver = Solver(together, TILES, [])
    for column in range(5):
        elsewhere = some[some[:, column] > 1]
        assert solver.lacking(together[:, column] > 1, elsewhere) == 0
    assert (chosen[:, 1] > 1).sum() >= 6
    assert len(chosen) < 48


def test_where_all_is_seen_nothing_is_chosen():
    some = drawn(400)
    assert foreseen(TILES, [], some, some).shape == (0, 5)


def test_the_chosen_come_right_after_the_corners():
    (design, *_) = designs("gemm", "llvm")
    chosen = random_configs(design, 3, np.random.default_rng(5))
    seen = []

    def choose(known, offered):
        seen.append((known, offered))
        return chosen

    few = gather_few(design, 12, np.random.default_rng(0), choose)
    corners = len(corner_configs(design))
    np.testing.assert_array_equal(few.configs[corners : corners + 3], chosen)
    assert few.chosen == corners + 3
    assert len(few.programs) == corners + 12
    ((known, offered),) = seen
    assert corners < len(known) < corners + 12
    assert len(offered) > 100
    more = few.and_of(design, chosen)
    assert more.chosen == few.chosen
