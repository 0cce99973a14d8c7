"""Felix's search: gradient descent on the cost model's own features, rounded at every step.

Per round: (1) seeds are the fastest configs so far, the best predicted of fresh samples, and random
ones; each takes its best choices, which are enumerated; (2) all go down together (`descent`);
(3) every point on the way is rounded to a valid config and scored exactly; (4) from the best of
them one tile or choice at a time is changed for a nearby one while that improves the score, for
the nearest config is not always the best near it; (5) the best are picked, but for a share of
random ones.

References
----------
Zhao et al., "Felix: Optimizing Tensor Programs with Gradient Descent", ASPLOS 2024, algorithm 1;
parameters as in github uiuc-arc/felix. Felix draws all seeds afresh, keeps Adam's moments between
rounds, and measures no random configs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .history import History
from .moves import neighbours
from .points import Points, SketchSet
from .pool import Scored, gather, sample_new, thinned
from .scoring import WITH_GRADIENT, Scorer
from .strategy import Strategy

if TYPE_CHECKING:
    import torch

    from .descent import Schedule
    from .relaxed_sketch import RelaxedSketch


class Fallback(str, Enum):
    """What to do with a cost model that has no gradients."""

    ERROR = "error"
    """Stop, and say which models have."""
    SCORE = "score"
    """Choose by its scores among samples and neighbours of the best, or sample without scores."""


@dataclass(frozen=True)
class DescentConfig:
    """Parameters of gradient descent; those of Felix's scripts in brackets.

    Parameters
    ----------
    n_seeds : int
        Configs that go down per round, of all sketches together, >= 1 (32 of each sketch).
    n_sketches : int
        Most sketches that go down in a round, >= 1 (all): a step costs more by sketch than by
        config.
    n_steps : int
        Steps per round, >= 1 (64 in the first round, then 16). With 8 climbs 32 find as much as 64
        with 4, and more in three of five cases, in half the time (``docs/findings.md``).
    learning_rate, last_rate : float
        Of Adam, in octaves, > 0 (0.5, 0.1).
    width, last_width : float
        Of the smoothings, in (0, 1]; Felix's are one and fixed.
    penalty : float
        Norm of the slope of broken constraints over that of the cost, > 0 (5).
    samples : int
        Fresh samples per round, from which seeds are taken, >= 1.
    measured_share, random_share : float
        Shares of the seeds that are the fastest configs so far, and samples whatever their score;
        the others are the best predicted samples. Each in [0, 1], together at most 1 (0, 1).
    climbs : int
        Most changes of one tile or choice, one after the other, of each of the best configs, >= 0.
    nearby : int
        Other tiles, or choices, that are tried in place of one, >= 1.
    choices : int
        Most combinations of choices (unrolling, …) that are tried of a config, >= 1.
    epsilon : float
        Share of a batch that is random, in [0, 1] (0).
    fallback : Fallback
        What to do with a cost model that has no gradients.
    batch : int, optional
        Most candidates measured per round; as for evolution when None.
    pool : int
        Most points to score in a round when scoring means materialising (TVM's models).
    threads : int
        Most threads of PyTorch during a descent. One: its operations are too small to share.
    """

    n_seeds: int = 32
    n_sketches: int = 4
    n_steps: int = 32
    learning_rate: float = 0.5
    last_rate: float = 0.05
    width: float = 0.5
    last_width: float = 0.05
    penalty: float = 5.0
    samples: int = 128
    measured_share: float = 0.25
    random_share: float = 0.25
    climbs: int = 8
    nearby: int = 8
    choices: int = 16
    epsilon: float = 0.1
    fallback: Fallback = Fallback.ERROR
    batch: int | None = None
    pool: int = 256
    threads: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "fallback", Fallback(self.fallback))
        for name in (
            "n_seeds",
            "n_sketches",
            "n_steps",
            "samples",
            "choices",
            "nearby",
            "batch",
            "pool",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"expected DescentConfig.{name} >= 1, got {value}")
        for name, least in (("threads", 1), ("climbs", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"expected DescentConfig.{name} >= {least}, got {getattr(self, name)}"
                )
        for name in ("learning_rate", "last_rate", "penalty"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected DescentConfig.{name} > 0, got {getattr(self, name)}")
        for name in ("width", "last_width"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"expected DescentConfig.{name} in (0, 1], got {getattr(self, name)}"
                )
        for name in ("measured_share", "random_share", "epsilon"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"expected DescentConfig.{name} in [0, 1], got {getattr(self, name)}"
                )
        if self.measured_share + self.random_share > 1:
            raise ValueError(
                "expected DescentConfig.measured_share + random_share <= 1, got "
                f"{self.measured_share} + {self.random_share}"
            )

    @property
    def schedule(self) -> Schedule:
        """How a descent goes."""
        from .descent import Schedule

        return Schedule(
            self.n_steps,
            self.learning_rate,
            self.last_rate,
            self.width,
            self.last_width,
            self.penalty,
        )


class Descent:
    """Gradient descent of one task; a `Search`.

    Parameters
    ----------
    config : DescentConfig
    """

    def __init__(self, config: DescentConfig) -> None:
        self.config = config
        self._regions: dict[int, RelaxedSketch] = {}

    def propose(
        self,
        count: int,
        space: SketchSet,
        history: History,
        scorer: Scorer,
        rng: np.random.Generator,
    ) -> Points:
        config = self.config
        if not scorer.differentiable and config.fallback is Fallback.ERROR:
            raise TypeError(
                "GradientDescent: expected a cost model with gradients "
                f"({', '.join(f'mschedx.cost.{name}()' for name in WITH_GRADIENT)}), got one "
                'without: pass one of these, or GradientDescent(fallback="score") to choose by '
                "scores alone"
            )
        if not scorer.ready:
            return sample_new(count, space, history.tried, rng)
        if scorer.differentiable:
            found = self._descended(count, space, history, scorer, rng)
        else:
            found = self._scored(space, history, scorer, rng)
        by_chance = round(config.epsilon * count)
        found = found.untried(history.tried)
        best = found.best(len(found)).points
        chosen = best.take(np.arange(min(count - by_chance, len(best))))
        lucky = sample_new(count - len(chosen), space, {*history.tried, *chosen.codes()}, rng)
        return gather(chosen, lucky, best)

    # Without gradients.

    def _scored(
        self, space: SketchSet, history: History, scorer: Scorer, rng: np.random.Generator
    ) -> Scored:
        """Samples, and neighbours of the fastest, with their scores."""
        elites = history.best(self.config.n_seeds)
        samples = space.sample(self.config.samples, rng)
        pool = gather(samples, neighbours(space, elites, rng)).distinct(history.tried)
        if scorer.capacity is not None:
            pool = thinned(pool, min(scorer.capacity, self.config.pool), rng)
        return Scored.by(scorer, pool)

    # With gradients.

    def _descended(
        self,
        count: int,
        space: SketchSet,
        history: History,
        scorer: Scorer,
        rng: np.random.Generator,
    ) -> Scored:
        """Everything that was scored on the way down."""
        samples = Scored.by(scorer, space.sample(self.config.samples, rng).distinct())
        seeds = self._seeds(samples, history, rng)
        seen = samples.merged(Scored.by(scorer, seeds))
        seeds, varied = self._with_best_choices(seeds, space, scorer, rng)
        passed = self._passed(seeds, space, scorer, rng)
        seen = seen.merged(varied).merged(Scored.by(scorer, passed.distinct(seen.points.codes())))
        best = seen.untried(history.tried).best(count)
        return seen.merged(self.climb(best, space, scorer))

    def climb(self, start: Scored, space: SketchSet, scorer: Scorer) -> Scored:
        """Change one tile or choice at a time of every point while its score gets better.

        Parameters
        ----------
        start : Scored
        space, scorer

        Returns
        -------
        Scored
            Everything that was scored, ``start`` too.
        """
        seen, front = start, start
        for _ in range(self.config.climbs):
            near = [
                space.lift(s, self._region(s, space).around(configs, self.config.nearby))
                for s, _, configs in space.groups(front.points)
            ]
            fresh = Points.concatenate([space.empty(), *near]).distinct(seen.points.codes())
            if not len(fresh):
                break
            scored = Scored.by(scorer, fresh)
            seen = seen.merged(scored)
            front = scored.take(scored.scores > front.scores.min()).best(len(start))
            if not len(front):
                break
        return seen

    def _seeds(self, samples: Scored, history: History, rng: np.random.Generator) -> Points:
        config = self.config
        measured = history.best(round(config.measured_share * config.n_seeds))
        by_chance = thinned(samples.points, round(config.random_share * config.n_seeds), rng)
        best = samples.best(len(samples)).points
        promising = gather(measured, best).sketch
        chosen = list(dict.fromkeys([*promising, *by_chance.sketch]))[: config.n_sketches]
        if len(by_chance) and config.n_sketches > 1:
            # One of them by chance: what has not been measured is predicted badly.
            chosen[config.n_sketches - 1 :] = by_chance.sketch[:1]
        seeds = gather(measured, by_chance, best)
        seeds = seeds.take(np.flatnonzero(np.isin(seeds.sketch, chosen)))
        return seeds.take(np.arange(min(config.n_seeds, len(seeds))))

    def _with_best_choices(
        self, points: Points, space: SketchSet, scorer: Scorer, rng: np.random.Generator
    ) -> tuple[Points, Scored]:
        """Give points [n] the choices that score best.

        Returns
        -------
        points : Points [n]
            In the same order.
        varied : Scored
            All that was scored for it.
        """
        own, every = points.configs.copy(), []
        for s, positions, configs in space.groups(points):
            region = self._region(s, space)
            varied = space.lift(s, region.with_choices(configs, self.config.choices, rng))
            if not len(varied):
                continue
            scored = Scored.by(scorer, gather(varied, points.take(positions)))
            every.append(scored)
            fixed = [c for c in range(space.depths[s]) if c not in region.choices]
            best: dict[bytes, int] = {}
            for i in np.argsort(-scored.scores, kind="stable"):
                best.setdefault(scored.points.configs[i, fixed].tobytes(), int(i))
            chosen = [best[configs[i, fixed].tobytes()] for i in range(len(configs))]
            own[positions] = scored.points.configs[chosen]
        all_scored = Scored(space.empty(), np.empty(0))
        for scored in every:
            all_scored = all_scored.merged(scored)
        return Points(points.sketch.copy(), own), all_scored

    def _passed(
        self, seeds: Points, space: SketchSet, scorer: Scorer, rng: np.random.Generator
    ) -> Points:
        """Go down from seeds [n], all sketches at once; the valid configs on the way."""
        from mschedx.cost.learned.train import bounded_threads

        from .descent import Group, descend

        parts = space.groups(seeds.distinct())
        groups, numbers = [], []
        for s, _, configs in parts:
            region = self._region(s, space)
            if region.movable.any():
                groups.append(Group(region, partial(_score, scorer, s), configs))
                numbers.append(s)
        if not groups:
            return space.empty()
        with bounded_threads(self.config.threads):
            passed = descend(groups, self.config.schedule)
        found = [
            space.lift(s, self._region(s, space).rounded(points, rng))
            for s, points in zip(numbers, passed)
        ]
        return Points.concatenate(found)

    def _region(self, number: int, space: SketchSet) -> RelaxedSketch:
        if number not in self._regions:
            from .relaxed_sketch import RelaxedSketch

            self._regions[number] = RelaxedSketch(space.sketches[number])
        return self._regions[number]


def _score(scorer: Scorer, sketch: int, configs: torch.Tensor, width: float) -> torch.Tensor:
    return scorer.relaxed_score(sketch, configs, width)


class GradientDescent(Strategy):
    """Felix's gradient descent as a MetaSchedule strategy.

    ``ms.tune_tir(..., strategy=mschedx.GradientDescent(), cost_model=mschedx.cost.FelixMLP())``
    works with any space and any cost model that has gradients; until the model is ready it samples.

    Parameters
    ----------
    config : DescentConfig, optional
    **changes
        Single parameters of `DescentConfig` to set, such as ``n_steps=32``.
    """

    def __init__(self, config: DescentConfig | None = None, **changes: Any) -> None:
        self.config = replace(config or DescentConfig(), **changes)
        make = partial(Descent, self.config)
        super().__init__(make, batch=self.config.batch, pool=self.config.pool)
