"""Descents in a relaxed sketch: its region, penalties and what is rounded; toys."""

import numpy as np
import pytest
import torch
from toy import ToySketch

from mschedx.search.descent import Annealing, Group, descend
from mschedx.search.relaxed_sketch import RelaxedSketch, onto_planes


def test_fact_7_rounded_points_are_perfect_tilings():
    """Of extents with large primes and of 1 too."""
    rng = np.random.default_rng(0)
    for m, n in ((11008, 44), (1009, 48), (1, 43)):
        sketch = ToySketch(m=m, n=n, vector=(1,), inner=1 << 40)
        region = RelaxedSketch(sketch)
        x = 2.0 ** rng.uniform(0, 6, (50, 8))
        configs = region.rounded(x, rng)
        assert len(configs)
        assert (configs[:, :3].prod(axis=1) == m).all()
        assert (configs[:, 3:6].prod(axis=1) == n).all()
        assert sketch.is_valid(configs).all()


def test_projection_is_the_nearest_point_of_the_region():
    sketch = ToySketch()
    region, rng = RelaxedSketch(sketch), np.random.default_rng(0)
    wild = rng.normal(2, 4, (40, 8))
    inside = region.project(wild)
    assert np.allclose(inside[:, :3].sum(axis=1), np.log2(16))
    assert np.allclose(inside[:, 3:6].sum(axis=1), np.log2(48))
    assert (inside[:, :6] >= -1e-12).all()
    assert np.array_equal(inside[:, 6:], wild[:, 6:])
    assert np.allclose(region.project(inside), inside, atol=1e-6)
    others = np.log2(sketch.sample(500, rng)[:, :3])
    nearest = ((inside[:, None, :3] - wild[:, None, :3]) ** 2).sum(axis=2)
    assert (nearest <= ((others[None] - wild[:, None, :3]) ** 2).sum(axis=2) + 1e-9).all()


def test_projection_shifts_all_factors_alike_but_for_those_at_their_bounds():
    """And so is the nearest point: against halving, with bounds that leave a factor no room too."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        tiles, factors = rng.integers(1, 4), rng.integers(1, 6)
        low, room = rng.normal(size=(2, tiles, factors))
        high = low + np.abs(room) * rng.integers(0, 2, room.shape)
        share = rng.choice([0, 1, rng.random()], size=tiles)
        totals = low.sum(axis=1) * (1 - share) + high.sum(axis=1) * share
        points = 3 * rng.normal(size=(4, tiles, factors))
        found = onto_planes(points, low, high, totals)
        assert np.allclose(found, halved(points, low, high, totals), atol=1e-9)


def test_a_reach_of_its_own_bounds_every_config():
    sketch = ToySketch()
    region, rng = RelaxedSketch(sketch), np.random.default_rng(0)
    seeds = sketch.sample(12, rng)
    reach = np.where(np.arange(12) < 6, 1.0, np.inf)

    def score(x, width):
        return torch.log2(x[:, 0]) - torch.log2(x[:, 4])

    group = Group(region, score, seeds, reach)
    (passed,) = descend([group], Annealing(40, 0.5, 0.05, 0.5, 0.05, 5.0))
    assert np.allclose(passed[:, :3].prod(axis=1), 16)
    far = np.abs(np.log2(passed[:, :6]) - np.tile(np.log2(seeds[:, :6]), (40, 1))).max(axis=1)
    bounded = np.tile(np.isfinite(reach), 40)
    assert far[bounded].max() == pytest.approx(1.0, abs=1e-6)
    assert far[~bounded].max() > 2.0
    # What is projected lies in its box and on its tiles' planes, nearest to where it was.
    wild = rng.normal(2, 4, (12, 8))
    box = region.near(group.logs, reach)
    inside = region.project(wild, box)[:, None, 3:6]
    low, high = (side[:, None, 3:6] for side in box)
    for i in range(12):
        wanted = halved(wild[i : i + 1, None, 3:6], low[i], high[i], np.log2([48.0]))
        assert np.allclose(inside[i : i + 1], wanted, atol=1e-6)


def halved(points, low, high, totals):
    least, most = (points - high).min(axis=2) - 1, (points - low).max(axis=2) + 1
    for _ in range(100):
        middle = (least + most) / 2
        above = (points - middle[:, :, None]).clip(low, high).sum(axis=2) > totals
        least, most = np.where(above, middle, least), np.where(above, most, middle)
    return (points - most[:, :, None]).clip(low, high)


def test_the_penalty_is_zero_exactly_where_bounds_hold():
    sketch = ToySketch(vector=(1,))
    region, rng = RelaxedSketch(sketch), np.random.default_rng(0)
    tables = sketch.design.tables
    configs = np.concatenate([t.rows[rng.integers(len(t.rows), size=300)] for t in tables], axis=1)
    broken = region.penalty(torch.tensor(configs, dtype=torch.float64), 0.25).numpy()
    assert np.array_equal(broken == 0, sketch.is_valid(configs))
    assert 50 < (broken == 0).sum() < 290


def test_the_slope_of_a_broken_constraint_leads_whatever_the_cost():
    """The cost wants a large inner tile; 5 times its slope says that there may be none."""
    sketch = ToySketch(inner=8, vector=(1,))
    region, rng = RelaxedSketch(sketch), np.random.default_rng(0)

    def score(x, width):
        return 100 * torch.log2(x[:, 2] * x[:, 5])

    seeds = sketch.sample(10, rng)
    (passed,) = descend([Group(region, score, seeds)], Annealing(80, 0.5, 0.05, 0.5, 0.05, 5.0))
    ends = passed[:10]
    assert (ends[:, 2] * ends[:, 5] < 8 * 1.3).all()
    assert (ends[:, 2] * ends[:, 5] > 8 / 2).all()
