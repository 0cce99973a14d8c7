"""Felix's search: gradient descent on the cost model's own features, rounded at every step.

Per round: (1) seeds are the fastest configs so far, the best of fresh samples by the model and by
an analytical draft, and random ones; each takes its best choices, which are enumerated; (2) all go
down together (`descent`); (3) every point on the way is rounded to a valid config and scored
exactly; (4) from the best of them one tile or choice at a time is changed for a nearby one while
that improves the score, for the nearest config is not always the best near it; (5) the best are
picked, but for a share of random ones. Until the model has learnt anything, the draft stands in;
then both lead, each as far as it has ranked what was measured (`blend`).

References
----------
Zhao et al., "Felix: Optimizing Tensor Programs with Gradient Descent", ASPLOS 2024, algorithm 1;
parameters as in github uiuc-arc/felix. Felix draws all seeds afresh, keeps Adam's moments between
rounds, measures no random configs, and has no draft: its model is pretrained.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mschedx.cost.base import Differentiable
from mschedx.cost.psa import PSAModel
from mschedx.hardware import Hardware

from .base import logger
from .blend import Blend, BlendedScorer
from .descent_config import DescentConfig, Fallback
from .draft_verify import draft_model
from .history import History
from .moves import neighbours
from .niches import Niches, spread
from .points import Points, SketchSet
from .pool import Scored, gather, sample_new, thinned
from .scoring import WITH_GRADIENT, ArrayScorer, Scorer
from .strategy import Strategy

if TYPE_CHECKING:
    import torch

    from mschedx.cost.base import CostModel

    from .relaxed_sketch import RelaxedSketch

_NICHE_SHARE = 0.125
"""Of a batch that the draft chose, as of Pruner's drafts: what it ranks first is much alike."""


class Descent:
    """Gradient descent of one task; a `Search`.

    Parameters
    ----------
    config : DescentConfig
    draft : CostModel, optional
        Ready before anything is measured, and with gradients; None samples until the model is.
    """

    def __init__(self, config: DescentConfig, draft: CostModel | None = None) -> None:
        self.config = config
        self._draft = draft
        self._blend = Blend()
        self._niches: Niches | None = None
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
        draft = self._drafting(space, history)
        guide = self._guide(draft, history, scorer)
        if guide is None:
            return sample_new(count, space, history.tried, rng)
        if guide.differentiable:
            found = self._descended(count, space, history, guide, draft, rng)
        else:
            found = self._scored(space, history, guide, rng)
        by_chance = round(config.epsilon * count)
        found = found.untried(history.tried)
        if guide is draft:
            self._niches = self._niches or Niches(space)
            found = spread(found, self._niches.of(found.points), count, _NICHE_SHARE)
        best = found.best(len(found)).points
        chosen = best.take(np.arange(min(count - by_chance, len(best))))
        lucky = sample_new(count - len(chosen), space, {*history.tried, *chosen.codes()}, rng)
        asked = gather(chosen, lucky, best)
        if isinstance(guide, BlendedScorer):
            self._blend.expect(asked.take(np.arange(min(len(asked), 2 * count))), guide)
        return asked

    def _guide(self, draft: Scorer | None, history: History, scorer: Scorer) -> Scorer | None:
        """What to go down on: the model, and the draft's opinion as far as it has been worth it."""
        if not scorer.ready:
            return draft
        if draft is None or not self.config.blend:
            return scorer
        self._blend.observe(history)
        return self._blend.scorer(draft, scorer)

    def _drafting(self, space: SketchSet, history: History) -> Scorer | None:
        """The draft, which has learnt what was measured; None where it has nothing to say."""
        model = self._draft
        if isinstance(model, PSAModel) and model.hardware is None:
            try:
                Hardware.from_target(space.task.target)
            except ValueError as error:
                logger.info("task %s: no draft, the search samples: %s", space.task.name, error)
                self._draft = model = None
        if model is None:
            return None
        scorer = ArrayScorer(model, space)
        if len(history):
            scorer.learn(history)
        return scorer if scorer.ready else None

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
        draft: Scorer | None,
        rng: np.random.Generator,
    ) -> Scored:
        """Everything that was scored on the way down."""
        samples = Scored.by(scorer, space.sample(self.config.samples, rng).distinct())
        drafted = space.empty()
        if draft is not None and draft is not scorer:
            most = round(self.config.draft_share * self.config.n_seeds)
            drafted = Scored.by(draft, samples.points).best(most).points
        seeds = self._seeds(samples, drafted, history, rng)
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

    def _seeds(
        self, samples: Scored, drafted: Points, history: History, rng: np.random.Generator
    ) -> Points:
        config = self.config
        measured = history.best(round(config.measured_share * config.n_seeds))
        by_chance = thinned(samples.points, round(config.random_share * config.n_seeds), rng)
        best = samples.best(len(samples)).points
        promising = gather(measured, drafted, best).sketch
        chosen = list(dict.fromkeys([*promising, *by_chance.sketch]))[: config.n_sketches]
        if len(by_chance) and config.n_sketches > 1:
            # One of them by chance: what has not been measured is predicted badly.
            chosen[config.n_sketches - 1 :] = by_chance.sketch[:1]
        seeds = gather(measured, drafted, by_chance, best)
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
    works with any space and any cost model that has gradients. Until that is ready a draft leads.

    Parameters
    ----------
    config : DescentConfig, optional
    draft : TVMCostModel, CostModel or "none", optional
        What leads before anything is measured, and offers seeds afterwards; `mschedx.cost.PSA` when
        None, unless the device has no `Hardware`. "none" samples until the model is ready.
    **changes
        Single parameters of `DescentConfig` to set, such as ``n_steps=32``.
    """

    def __init__(
        self, config: DescentConfig | None = None, draft: Any = None, **changes: Any
    ) -> None:
        self.config = replace(config or DescentConfig(), **changes)
        self.draft = None if isinstance(draft, str) and draft == "none" else draft_model(draft)
        if self.draft is not None and not isinstance(self.draft, Differentiable):
            raise TypeError(
                "GradientDescent: expected a draft with gradients "
                f"({', '.join(f'mschedx.cost.{name}()' for name in WITH_GRADIENT)}) or "
                f'"none", got {type(self.draft).__name__}'
            )
        make = partial(Descent, self.config, self.draft)
        drafts = self.draft is not None
        super().__init__(make, batch=self.config.batch, pool=self.config.pool, drafts=drafts)
