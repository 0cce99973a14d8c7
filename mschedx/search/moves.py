"""Moves: new points from old ones, all rows of a sketch at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mschedx.space.trace.factors import prime_powers

from .pick import roulette
from .points import BoolArray, FloatArray, IntArray, Points, SketchSet


def couples(
    points: Points, fitness: FloatArray, parents: int, count: int, rng: np.random.Generator
) -> tuple[Points, Points]:
    """Draw parents by roulette on fitness [n], and pair them: mothers and fathers, [count] each."""
    chosen = roulette(fitness, min(parents, len(points)), rng, distinct=True)
    pairs = mates(points, chosen, count, rng)
    return points.take(pairs[:, 0]), points.take(pairs[:, 1])


def mates(points: Points, chosen: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Pair parents: positions [count, 2] into ``points``, the two of a pair from one sketch."""
    first = chosen[rng.integers(len(chosen), size=count)]
    second = np.empty_like(first)
    of_chosen = points.sketch[chosen]
    for s in np.unique(of_chosen):
        peers = chosen[of_chosen == s]
        here = points.sketch[first] == s
        second[here] = peers[rng.integers(len(peers), size=int(here.sum()))]
    return np.column_stack([first, second])


def uniform_crossover(first: Points, second: Points, rng: np.random.Generator) -> Points:
    """Take every value from either parent alike: points [n], valid or not."""
    mothers = rng.random(first.configs.shape) < 0.5
    return Points(first.sketch.copy(), np.where(mothers, first.configs, second.configs))


def neighbours(space: SketchSet, points: Points, rng: np.random.Generator) -> Points:
    """Change one gene of each point a little; points [<= n] whose change stays valid.

    A tile moves one prime factor from one of its loops to another; a choice takes another value.
    """
    children = points.configs.copy()
    for s, positions, configs in space.groups(points):
        decisions, groups = space.sketches[s].decisions, space.genes[s]
        if not groups:
            continue
        which = rng.integers(len(groups), size=len(positions))
        for gene, columns in enumerate(groups):
            rows = np.flatnonzero(which == gene)
            old = configs[np.ix_(rows, columns)]
            if len(columns) > 1:
                moved = moved_factors(old, rng)
            else:
                moved = other_values(old[:, 0], decisions[columns[0]].domain, rng)[:, None]
            children[np.ix_(positions[rows], columns)] = moved
    changed = (children != points.configs).any(axis=1)
    result = Points(points.sketch.copy(), children).take(changed)
    return result.take(space.is_valid(result))


def moved_factors(tiles: IntArray, rng: np.random.Generator) -> IntArray:
    """Move a random prime factor from one loop of each tile [n, parts] to another.

    A tile of ones stays as it is; there must be two parts or more.
    """
    source = (rng.random(tiles.shape) * (tiles > 1)).argmax(axis=1)
    other = rng.integers(1, tiles.shape[1], size=len(tiles))
    target = (source + other) % tiles.shape[1]
    rows = np.arange(len(tiles))
    values, place = np.unique(tiles[rows, source], return_inverse=True)
    primes = [tuple(prime_powers(int(value))) or (1,) for value in values]
    counts = np.array([len(some) for some in primes], dtype=np.int64)
    padded = np.ones((len(values), max(counts, default=1)), dtype=np.int64)
    for value, some in zip(padded, primes):
        value[: len(some)] = some
    prime = padded[place, (rng.random(len(tiles)) * counts[place]).astype(np.int64)]
    moved = tiles.copy()
    moved[rows, source] //= prime
    moved[rows, target] *= prime
    return moved


def other_values(values: IntArray, domain: Sequence[int], rng: np.random.Generator) -> IntArray:
    """Draw for each of values [n] another one of a sorted domain of at least two."""
    place = np.searchsorted(domain, values)
    return np.asarray(domain)[
        (place + rng.integers(1, len(domain), size=len(values))) % len(domain)
    ]


def key_columns(genes: Sequence[IntArray], keep: BoolArray, width: int) -> BoolArray:
    """Spread genes kept [n, G] to the columns they hold: bool [n, width]."""
    keys = np.zeros((len(keep), width), dtype=bool)
    for gene, columns in enumerate(genes):
        keys[:, columns] = keep[:, gene, None]
    return keys
