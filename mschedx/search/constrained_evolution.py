"""Heron's constrained genetic algorithm (CGA).

Solutions are never edited: crossover adds constraints ("this key decision takes a value of one of
the parents") and samples from what they leave, so every child is valid by construction.

Per round: (1) the population is the last one, the best measured points and fresh samples, cut to
the best predicted; (2) it evolves for some generations, parents drawn by roulette on the
predicted score; (3) the batch is filled greedily by prediction and, for the rest, by roulette over
everything seen.

References
----------
Bi et al., "Heron", ASPLOS 2023, sections 5.1-5.3 (algorithms 2 and 3); parameters as in github
IPRC-ICT/Heron, its first release being the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from .base import sample_new
from .history import History
from .moves import couples, draw, key_columns, neighbours
from .points import BoolArray, FloatArray, IntArray, Points, SketchSet
from .scoring import Scorer


class Keys(str, Enum):
    """How crossover chooses the decisions that children must take from a parent."""

    IMPORTANCE = "importance"
    """The ones the cost model splits on most: the mode the paper describes."""
    RANDOM = "random"
    """Any, afresh for every child: the paper's ablation CGA-1."""


@dataclass(frozen=True)
class EvolutionConfig:
    """Parameters of the constrained genetic algorithm.

    Parameters
    ----------
    population : int
        Points kept between generations and fresh samples per round (Heron: 200).
    generations : int
        Generations per round; 0 only samples and picks (Heron: 5).
    parents : int
        Points drawn as parents of a generation (Heron: 100; its first release 32).
    elites : int
        Best predicted points that survive a generation (Heron: 20).
    history : int
        Best measured points put into the population of a round (Heron: 32).
    batch : int, optional
        Most candidates measured per round (Heron: 32). None: an eighth of the trials, between 8
        and 32. Short runs need the rounds: on recorded landscapes 64 trials in rounds of 32, 16
        and 8 ended 4.2, 1.9 and 1.3 % above the best record of a convolution, and at 2.3, 2.1 and
        1.9 times that of a depthwise one (10 seeds, docs/findings.md).
    greedy_share : float
        Share of a batch that is taken by prediction alone, in [0, 1] (Heron: 0.6).
    key_ratio : float
        Share of the genes that are keys, in [0, 1] (Heron: 0.2; its first release 0.14).
    keys : Keys
    neighbours : int
        Local moves (`moves.neighbours`) per best measured point and round, >= 0 (Heron: 0). On
        recorded landscapes 4 of them changed nothing that 20 seeds can see (docs/findings.md).
    pool : int
        Most points to score in a round when scoring means materialising (TVM's models).
    """

    population: int = 200
    generations: int = 5
    parents: int = 100
    elites: int = 20
    history: int = 32
    batch: int | None = None
    greedy_share: float = 0.6
    key_ratio: float = 0.2
    keys: Keys = Keys.IMPORTANCE
    neighbours: int = 0
    pool: int = 256

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", Keys(self.keys))
        for name in ("population", "parents", "elites", "batch", "pool"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"expected EvolutionConfig.{name} >= 1, got {value}")
        for name in ("generations", "history", "neighbours"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected EvolutionConfig.{name} >= 0, got {getattr(self, name)}")
        for name in ("greedy_share", "key_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"expected EvolutionConfig.{name} in [0, 1], got {getattr(self, name)}"
                )


class Evolution:
    """The constrained genetic algorithm of one task; a `Search`.

    Parameters
    ----------
    config : EvolutionConfig
    """

    def __init__(self, config: EvolutionConfig) -> None:
        self.config = config
        self._population: Points | None = None

    def propose(
        self,
        count: int,
        space: SketchSet,
        history: History,
        scorer: Scorer,
        rng: np.random.Generator,
    ) -> Points:
        if not scorer.ready:
            return sample_new(count, space, history.tried, rng)
        size, generations = self._affordable(scorer.capacity)
        pool = self._start(size, space, history, rng)
        if scorer.capacity is not None:
            pool = pool.take(np.sort(rng.permutation(len(pool))[:size]))
        scores = scorer.score(pool)
        survivors = _best(scores, size)
        population, fitness = pool.take(survivors), scores[survivors]
        weights = scorer.importance() if self.config.keys is Keys.IMPORTANCE else None
        for _ in range(generations):
            couple = couples(population, fitness, self.config.parents, size, rng)
            children = self.offspring(space, *couple, weights, rng)
            rated = scorer.score(children)
            pool, scores = _merge(pool, scores, children, rated)
            elites = _best(scores, self.config.elites)
            population, fitness = _merge(children, rated, pool.take(elites), scores[elites])
        self._population = population.take(_best(fitness, size))
        return self._pick(count, pool, scores, space, history, rng)

    def offspring(
        self,
        space: SketchSet,
        first: Points,
        second: Points,
        weights: FloatArray | None,
        rng: np.random.Generator,
    ) -> Points:
        """Cross pairs of parents.

        Parameters
        ----------
        space : SketchSet
        first, second : Points [n]
            The parents; those of a pair lie in one sketch.
        weights : float64 array [S, W] or None
            Importance of each decision; None draws the keys at random for every child.

        Returns
        -------
        Points [n]
            Valid. Every key gene but one, drawn at random (the mutation), has values of its
            parents.
        """
        keys = np.zeros_like(first.configs, dtype=bool)
        for s, positions, _ in space.groups(first):
            of_sketch = None if weights is None else weights[s]
            keep = self.kept(space.genes[s], len(positions), of_sketch, rng)
            keys[positions] = key_columns(space.genes[s], keep, space.width)
        return space.recombine(first, second, keys, rng)

    def kept(
        self,
        groups: tuple[IntArray, ...],
        count: int,
        weights: FloatArray | None,
        rng: np.random.Generator,
    ) -> BoolArray:
        """Choose, per child, the genes that must have a parent's value: the keys but one.

        Parameters
        ----------
        groups : tuple of int64 arrays [G]
            The genes of a sketch.
        count : int
            Number of children.
        weights : float64 array [W] or None
            Importance of each column; None draws the keys at random.

        Returns
        -------
        bool array [count, G]
        """
        total = len(groups)
        # One key is freed; with a single one nothing would be inherited at all.
        keys = min(max(2, round(self.config.key_ratio * total)), total)
        if weights is None:
            order = np.argsort(rng.random((count, total)), axis=1)
        else:
            of_gene = np.array([weights[columns].sum() for columns in groups])
            order = np.repeat(np.argsort(-of_gene, kind="stable")[None], count, axis=0)
        keep = np.zeros((count, total), dtype=bool)
        np.put_along_axis(keep, order[:, :keys], True, axis=1)
        if total:
            freed = order[np.arange(count), rng.integers(keys, size=count)]
            keep[np.arange(count), freed] = False
        return keep

    def _affordable(self, capacity: int | None) -> tuple[int, int]:
        """Population and generations that fit what the scorer can score in a round."""
        config = self.config
        if capacity is None:
            return config.population, config.generations
        capacity = min(capacity, config.pool)
        generations = min(config.generations, max(capacity // 32 - 1, 0))
        return max(min(config.population, capacity // (generations + 1)), 1), generations

    def _start(
        self, size: int, space: SketchSet, history: History, rng: np.random.Generator
    ) -> Points:
        """Last population, best measured points, their neighbours, and fresh samples."""
        elites = history.best(self.config.history)
        parts = [elites, space.sample(size, rng)]
        if self._population is not None:
            parts.insert(0, self._population)
        parts.extend(neighbours(space, elites, rng) for _ in range(self.config.neighbours))
        return Points.concatenate(parts).distinct()

    def _pick(
        self,
        count: int,
        pool: Points,
        scores: FloatArray,
        space: SketchSet,
        history: History,
        rng: np.random.Generator,
    ) -> Points:
        """Order untried points: greedy share, then roulette, then the others as spares."""
        fresh = np.array([key not in history.tried for key in pool.codes()], dtype=bool)
        pool, scores = pool.take(fresh), scores[fresh]
        if len(pool) < count:
            more = sample_new(count - len(pool), space, history.tried | set(pool.codes()), rng)
            pool = Points.concatenate([pool, more])
            scores = np.concatenate([scores, np.full(len(more), scores.min(initial=0.0))])
        if not len(pool):
            return pool
        order = _best(scores, len(pool), rng)
        greedy = order[: round(self.config.greedy_share * count)]
        rest = order[len(greedy) :]
        by_chance = min(count - len(greedy), len(rest))
        if by_chance > 0:
            lucky = rest[draw(scores[rest], by_chance, rng, distinct=True)]
            rest = rest[~np.isin(rest, lucky)]
            greedy = np.concatenate([greedy, lucky])
        return pool.take(np.concatenate([greedy, rest]))


def _best(scores: FloatArray, count: int, rng: np.random.Generator | None = None) -> IntArray:
    """Positions of the ``count`` best scores, best first; ties in order, or shuffled by ``rng``."""
    if rng is None:
        return np.argsort(-scores, kind="stable")[:count]
    return np.lexsort([rng.random(len(scores)), -scores])[:count]


def _merge(
    first: Points, first_scores: FloatArray, second: Points, second_scores: FloatArray
) -> tuple[Points, FloatArray]:
    """Join two scored sets, the first of equal points kept."""
    joined = Points.concatenate([first, second])
    scores = np.concatenate([first_scores, second_scores])
    position: dict[bytes, int] = {}
    for i, key in enumerate(joined.codes()):
        position.setdefault(key, i)
    kept = np.fromiter(position.values(), dtype=np.int64, count=len(position))
    return joined.take(kept), scores[kept]
