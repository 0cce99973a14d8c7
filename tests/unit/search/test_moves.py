import numpy as np
import pytest
from toy import ToySketch

from mschedx.search.moves import moved_factors, other_values, uniform_crossover
from mschedx.search.points import SketchSet
from mschedx.search.repair import valid_or


def test_a_prime_factor_moves_from_one_loop_to_another():
    rng = np.random.default_rng(0)
    tiles = np.array([[12, 1, 5]] * 300 + [[1, 1, 1]])
    moved = moved_factors(tiles, rng)
    assert (moved.prod(axis=1) == tiles.prod(axis=1)).all()
    assert moved[-1].tolist() == [1, 1, 1]
    wanted = {
        *((6, 2, 5), (4, 3, 5), (6, 1, 10), (4, 1, 15)),
        *((60, 1, 1), (12, 5, 1)),
    }
    assert {tuple(row) for row in moved[:-1].tolist()} == wanted


def test_another_value_is_another_value():
    domain = (0, 16, 64, 512)
    values = np.repeat(domain, 100)
    drawn = other_values(values, domain, np.random.default_rng(0))
    assert (drawn != values).all()
    for value in domain:
        assert set(drawn[values == value]) == set(domain) - {value}


@pytest.mark.parametrize("n", [0, 64])
def test_what_crossover_breaks_is_replaced_and_what_it_does_not_stays(n):
    space = SketchSet([ToySketch()])
    rng = np.random.default_rng(0)
    first, second = space.sample(n, rng), space.sample(n, rng)
    children = uniform_crossover(first, second, rng)
    mixed = (children.configs == first.configs) | (children.configs == second.configs)
    assert mixed.all()
    valid = space.is_valid(children)
    kept = valid_or(space, children, first)
    assert space.is_valid(kept).all()
    assert np.array_equal(kept.configs[valid], children.configs[valid])
    assert np.array_equal(kept.configs[~valid], first.configs[~valid])
