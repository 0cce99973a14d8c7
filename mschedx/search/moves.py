"""Ways to choose points and to make new ones from old ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .points import BoolArray, FloatArray, IntArray, Points, SketchSet


def draw(weights: FloatArray, count: int, rng: np.random.Generator, distinct: bool) -> IntArray:
    """Draw positions by roulette on ``weights - min``; uniformly when all weights are equal.

    Parameters
    ----------
    weights : float64 array [n]
    count : int
        At most n when ``distinct``.
    """
    share = weights - weights.min()
    if share.sum() <= 0:
        share = np.ones(len(weights))
    if distinct:
        # The worst has no share of the wheel; a trickle lets it fill up a full draw.
        share = share + 1e-9 * share.max()
    return rng.choice(len(weights), size=count, replace=not distinct, p=share / share.sum())


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


def couples(
    points: Points, fitness: FloatArray, parents: int, count: int, rng: np.random.Generator
) -> tuple[Points, Points]:
    """Draw parents by roulette on fitness [n], and pair them: mothers and fathers, [count] each."""
    chosen = draw(fitness, min(parents, len(points)), rng, distinct=True)
    pairs = mates(points, chosen, count, rng)
    return points.take(pairs[:, 0]), points.take(pairs[:, 1])


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
        for row, gene in enumerate(which):
            columns = groups[gene]
            if len(columns) > 1:
                moved = _shift(configs[row, columns], rng)
            else:
                domain = decisions[columns[0]].domain
                others = [value for value in domain if value != configs[row, columns[0]]]
                moved = rng.choice(others, size=1)
            children[positions[row], columns] = moved
    changed = (children != points.configs).any(axis=1)
    result = Points(points.sketch.copy(), children).take(changed)
    return result.take(space.is_valid(result))


def _shift(factors: IntArray, rng: np.random.Generator) -> IntArray:
    """Move a random prime factor from one loop of a tile [parts] to another."""
    sources = np.flatnonzero(factors > 1)
    if not len(sources):
        return factors
    source = rng.choice(sources)
    target = rng.choice(np.delete(np.arange(len(factors)), source))
    prime = rng.choice(_primes(int(factors[source])))
    moved = factors.copy()
    moved[source] //= prime
    moved[target] *= prime
    return moved


def _primes(value: int) -> list[int]:
    """The distinct prime factors of ``value`` > 1."""
    found, prime = [], 2
    while prime * prime <= value:
        if value % prime == 0:
            found.append(prime)
            while value % prime == 0:
                value //= prime
        prime += 1
    return [*found, value] if value > 1 else found


def key_columns(genes: Sequence[IntArray], keep: BoolArray, width: int) -> BoolArray:
    """Spread genes kept [n, G] to the columns they hold: bool [n, width]."""
    keys = np.zeros((len(keep), width), dtype=bool)
    for gene, columns in enumerate(genes):
        keys[:, columns] = keep[:, gene, None]
    return keys
