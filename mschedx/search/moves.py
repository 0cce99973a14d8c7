"""Genes, and the ways to make new points from old ones.

A gene is one sampling instruction: the factors of one tile, or one choice. Factors of a tile fix
each other through their product, so freeing a single column often frees nothing; genes are what
crossover keeps and mutation frees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .points import BoolArray, FloatArray, IntArray, Points, SketchSet

if TYPE_CHECKING:
    from mschedx.space.decisions import Decision


def genes(decisions: Sequence[Decision]) -> tuple[IntArray, ...]:
    """Group the columns of a sketch by instruction, leaving out those with a single value."""
    groups: dict[int, list[int]] = {}
    for decision in decisions:
        if len(decision.domain) > 1:
            groups.setdefault(decision.instruction, []).append(decision.column)
    return tuple(np.array(columns, dtype=np.int64) for columns in groups.values())


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


def neighbours(space: SketchSet, points: Points, rng: np.random.Generator) -> Points:
    """Change one gene of each point a little; points [<= n] whose change stays valid.

    A tile moves one prime factor from one of its loops to another; a choice takes another value.
    """
    children = points.configs.copy()
    for s, positions, configs in space.groups(points):
        decisions = space.sketches[s].decisions
        groups = genes(decisions)
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


def key_columns(space: SketchSet, points: Points, keep: Sequence[BoolArray]) -> BoolArray:
    """Spread genes kept, per point a mask over its sketch's genes, to columns: bool [n, W]."""
    keys = np.zeros_like(points.configs, dtype=bool)
    for row, (s, mask) in enumerate(zip(points.sketch, keep)):
        for columns, kept in zip(genes(space.sketches[s].decisions), mask):
            keys[row, columns] = kept
    return keys
