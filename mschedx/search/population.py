"""A population that evolves: the frame of genetic searches, whatever makes their children.

Per round: (1) the population is the last one, the fastest points so far and fresh samples, cut to
the best predicted; (2) it evolves for some generations (`evolve`), parents drawn by roulette on
the predicted score; (3) the batch is picked from everything seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mschedx.ranges import require_counts, require_shares

from .history import History
from .moves import couples, neighbours
from .pick import GreedyThenRoulette, Pick
from .points import FloatArray, Points, SketchSet
from .pool import Scored, gather, sample_new, thinned
from .request import Request
from .scoring import Scorer


@dataclass(frozen=True)
class PopulationConfig:
    """Parameters of the frame; Heron's values in brackets.

    Parameters
    ----------
    population : int
        Points kept between generations and fresh samples per round (200).
    generations : int
        Generations per round; 0 only samples and picks (5).
    parents : int
        Points drawn as parents of a generation (100; 32 in the first release).
    elites : int
        Best predicted points that survive a generation (20).
    history : int
        Best measured points put into the population of a round (32).
    batch : int, optional
        Most candidates measured per round (32). None: an eighth of the trials, between 8 and 32
        (`mschedx.tune` takes 16 of these at most, unless it is told ``trials_per_round``). Short
        runs need the rounds: on recorded landscapes 64 trials in rounds of 32, 16 and 8
        ended 4.2, 1.9 and 1.3 % above the best record of a convolution, and at 2.3, 2.1 and 1.9
        times that of a depthwise one (10 seeds, docs/findings.md).
    greedy_share : float
        Share of a batch that is taken by prediction alone, in [0, 1] (0.6).
    neighbours : int
        Local moves (`moves.neighbours`) per best measured point and round, >= 0 (0). On recorded
        landscapes 4 of them changed nothing that 20 seeds can see (docs/findings.md).
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
    neighbours: int = 0
    pool: int = 256

    def __post_init__(self) -> None:
        require_counts(self, "population", "parents", "elites", "pool")
        require_counts(self, "batch", optional=True)
        require_counts(self, "generations", "history", "neighbours", least=0)
        require_shares(self, "greedy_share")

    def affordable(self, capacity: int | None) -> tuple[int, int]:
        """Population and generations that fit what a scorer can score in a round."""
        if capacity is None:
            return self.population, self.generations
        capacity = min(capacity, self.pool)
        generations = min(self.generations, max(capacity // 32 - 1, 0))
        return max(min(self.population, capacity // (generations + 1)), 1), generations


class Breed(Protocol):
    """A way to make children."""

    @property
    def by_importance(self) -> bool:
        """Whether it asks how much each decision matters."""
        ...

    def __call__(
        self,
        space: SketchSet,
        first: Points,
        second: Points,
        weights: FloatArray | None,
        rng: np.random.Generator,
    ) -> Points:
        """Make one valid child of each pair of parents [n].

        Parameters
        ----------
        space : SketchSet
        first, second : Points [n]
            The parents; those of a pair lie in one sketch.
        weights : float64 array [S, W] or None
            Importance of each decision; None when not asked for or not known.
        rng : numpy.random.Generator

        Returns
        -------
        Points [n]
        """
        ...


def evolve(
    start: Scored,
    space: SketchSet,
    scorer: Scorer,
    breed: Breed,
    rng: np.random.Generator,
    *,
    size: int,
    generations: int,
    parents: int,
    elites: int,
) -> tuple[Scored, Scored]:
    """Let the best of ``start`` have children for some generations.

    Parameters
    ----------
    start : Scored
        At least one point.
    space, scorer, breed, rng
    size : int
        Points of a population, and children of a generation.
    generations, parents, elites : int
        As in `PopulationConfig`.

    Returns
    -------
    seen : Scored
        Every point that was scored.
    population : Scored
        The last one, at most ``size``, best first.
    """
    seen, population = start, start.best(size)
    weights = scorer.importance() if breed.by_importance else None
    for _ in range(generations):
        couple = couples(population.points, population.scores, parents, size, rng)
        children = Scored.by(scorer, breed(space, *couple, weights, rng))
        seen = seen.merged(children)
        population = children.merged(seen.best(elites))
    return seen, population.best(size)


class PopulationSearch:
    """A genetic search; a `Search`.

    Parameters
    ----------
    config : PopulationConfig
    breed : Breed
        Makes the children.
    pick : Pick, optional
        Chooses what to measure; `GreedyThenRoulette` when None.
    """

    def __init__(self, config: PopulationConfig, breed: Breed, pick: Pick | None = None) -> None:
        self.config, self.breed = config, breed
        self.pick = GreedyThenRoulette(config.greedy_share) if pick is None else pick
        self._population: Points | None = None

    def propose(self, request: Request) -> Points:
        count, space, history = request.count, request.space, request.history
        scorer, rng = request.scorer, request.rng
        if not scorer.ready:
            return sample_new(count, space, history.tried, rng)
        config = self.config
        size, generations = config.affordable(scorer.capacity)
        pool = self._start(size, space, history, rng)
        if scorer.capacity is not None:
            pool = thinned(pool, size, rng)
        seen, population = evolve(
            Scored.by(scorer, pool),
            space,
            scorer,
            self.breed,
            rng,
            size=size,
            generations=generations,
            parents=config.parents,
            elites=config.elites,
        )
        self._population = population.points
        found = seen.untried(history.tried).filled(count, space, history.tried, rng)
        return found.points.take(self.pick(found.scores, count, rng))

    def _start(
        self, size: int, space: SketchSet, history: History, rng: np.random.Generator
    ) -> Points:
        """Last population, best measured points, fresh samples, neighbours of the best."""
        last = space.empty() if self._population is None else self._population
        fastest = history.best(self.config.history)
        samples = space.sample(size, rng)
        near = [neighbours(space, fastest, rng) for _ in range(self.config.neighbours)]
        return gather(last, fastest, samples, *near)
