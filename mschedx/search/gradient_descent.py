"""Felix's search: gradient descent on the cost model's own features, rounded at every step.

Per round: (1) seeds are the fastest configs so far, the best of fresh samples by the model and by
an analytical draft, and random ones; each takes its best choices, which are enumerated; (2) all go
down together (`descent`), those from measured configs within reach of these; (3) every point on the
way is rounded to a valid config and scored exactly; (4) from the best of every niche one tile or
choice at a time is changed for a nearby one while that improves the score (`climb`), for the
nearest config is not always the best near it; (5) the batch is put together (`composed`): the best
near what was measured, the best of every niche elsewhere, a share of random ones. Until the model
has learnt anything, the draft stands in; then both lead, each as far as it has ranked what was
measured (`blend`).

References
----------
Zhao et al., "Felix: Optimizing Tensor Programs with Gradient Descent", ASPLOS 2024, algorithm 1;
parameters as in github uiuc-arc/felix. Felix draws all seeds afresh, keeps Adam's moments between
rounds, measures the best it has found wherever they lie and no random ones, and has no draft: its
model is pretrained.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mschedx.cost.base import Differentiable
from mschedx.cost.psa import PSAModel
from mschedx.hardware import Hardware

from .best_choices import with_best_choices
from .blend import Blend, BlendedScorer
from .climb import climb
from .descent_config import DescentConfig, Fallback
from .draft_verify import draft_model
from .history import History
from .moves import neighbours
from .niches import Niches, spread
from .notes import tell
from .points import FloatArray, IntArray, Points, SketchSet
from .pool import Scored, gather, sample_new, thinned
from .request import Request
from .scoring import WITH_GRADIENT, ArrayScorer, Scorer
from .strategy import Strategy

if TYPE_CHECKING:
    import torch

    from mschedx.cost.base import CostModel

    from .descent import Score
    from .relaxed_sketch import RelaxedSketch


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

    def propose(self, request: Request) -> Points:
        count, space, history = request.count, request.space, request.history
        scorer, rng = request.scorer, request.rng
        config = self.config
        if not scorer.differentiable and config.fallback is Fallback.ERROR:
            raise TypeError(
                "GradientDescent: expected a cost model with gradients "
                f"({', '.join(f'mschedx.cost.{name}()' for name in WITH_GRADIENT)}), got one "
                'without: pass one of these, or GradientDescent(fallback="score") to choose by '
                "scores alone"
            )
        self._niches = self._niches or Niches(space)
        draft = self._drafting(space, history)
        guide = self._guide(draft, history, scorer)
        if guide is None:
            return sample_new(count, space, history.tried, rng)
        request = replace(request, scorer=guide)
        if guide.differentiable:
            found, near = self._descended(request, draft)
        else:
            found, near = self._scored(request), set()
        by_chance = round(config.epsilon * count)
        found = found.untried(history.tried)
        best = found.best(len(found)).points
        chosen = self._composed(found, near, count - by_chance)
        lucky = sample_new(count - len(chosen), space, {*history.tried, *chosen.codes()}, rng)
        asked = gather(chosen, lucky, best)
        if isinstance(guide, BlendedScorer):
            self._blend.expect(asked.take(np.arange(min(len(asked), 2 * count))), guide)
        return asked

    def _composed(self, found: Scored, near: set[bytes], count: int) -> Points:
        """What to measure of the points found: the best near measured ones, others by niche."""
        is_near = np.array([code in near for code in found.points.codes()], dtype=bool)
        few = found.take(is_near).best(round(self.config.near_share * count))
        rest = found.untried(set(few.points.codes()))
        return few.merged(self._by_niche(rest, count - len(few))).best(count).points

    def _by_niche(self, scored: Scored, count: int) -> Scored:
        """The best, few of any one niche."""
        if self._niches is None or self.config.niche_share == 1:
            return scored.best(count)
        return spread(scored, self._niches.of(scored.points), count, self.config.niche_share)

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
                text = "task %s: no draft, the search samples: %s"
                tell(logging.INFO, text, space.task.name, error)
                self._draft = model = None
        if model is None:
            return None
        scorer = ArrayScorer(model, space, drafts=True)
        # Nothing, too: what another run of this strategy has measured is not this one's.
        scorer.learn(history)
        return scorer if scorer.ready else None

    # Without gradients.

    def _scored(self, request: Request) -> Scored:
        """Samples, and neighbours of the fastest, with their scores."""
        space, scorer, rng = request.space, request.scorer, request.rng
        fastest = request.history.best(self.config.n_seeds)
        samples = space.sample(self.config.samples, rng)
        pool = gather(samples, neighbours(space, fastest, rng)).distinct(request.history.tried)
        if scorer.capacity is not None:
            pool = thinned(pool, min(scorer.capacity, self.config.pool), rng)
        return Scored.by(scorer, pool)

    # With gradients.

    def _descended(self, request: Request, draft: Scorer | None) -> tuple[Scored, set[bytes]]:
        """Everything that was scored on the way down, and which of it is near what was measured."""
        config, space, history = self.config, request.space, request.history
        scorer, rng = request.scorer, request.rng
        samples = Scored.by(scorer, space.sample(config.samples, rng).distinct())
        drafted = space.empty()
        if draft is not None and draft is not scorer:
            most = round(config.draft_share * config.n_seeds)
            drafted = Scored.by(draft, samples.points).best(most).points
        measured = self._fastest(history, round(config.measured_share * config.n_seeds))
        seeds = self._seeds(samples, drafted, measured, rng)
        known = set(measured.codes())
        from_measured = np.array([code in known for code in seeds.codes()], dtype=bool)
        seen = samples.merged(Scored.by(scorer, seeds))
        seeds, varied = with_best_choices(seeds, space, scorer, partial(self._varied, rng, space))
        seen = seen.merged(varied)
        reach = np.where(from_measured, config.reach, np.inf)
        first = scorer is draft or not len(history)
        steps = config.n_steps if first else config.later_steps
        passed, nearby = self._passed(seeds, reach, steps, request)
        nearby = gather(nearby, self._around(measured, space))
        fresh = gather(nearby, passed).distinct(seen.points.codes())
        seen = seen.merged(Scored.by(scorer, fresh))
        best = self._by_niche(seen.untried(history.tried), request.count)
        return seen.merged(self.climb(best, space, scorer)), set(nearby.codes())

    def _fastest(self, history: History, count: int) -> Points:
        """The fastest of every niche."""
        ran = np.flatnonzero(history.succeeded)
        every = Scored(history.points.take(ran), -history.latency_s[ran])
        return self._by_niche(every, count).points

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
        around = partial(self._around, space=space)
        return climb(start, space, scorer, around, self._by_niche, self.config.climbs)

    def _varied(
        self, rng: np.random.Generator, space: SketchSet, sketch: int, configs: IntArray
    ) -> tuple[IntArray, list[int]]:
        """Configs [n, D] with other choices, and the columns that are choices."""
        region = self._region(sketch, space)
        return region.with_choices(configs, self.config.choices, rng), list(region.choices)

    def _around(self, points: Points, space: SketchSet) -> Points:
        """Valid points that differ from one of ``points`` in one tile or choice."""
        near = [
            space.lift(s, self._region(s, space).around(configs, self.config.nearby))
            for s, _, configs in space.groups(points)
        ]
        return Points.concatenate([space.empty(), *near])

    def _seeds(
        self, samples: Scored, drafted: Points, measured: Points, rng: np.random.Generator
    ) -> Points:
        config = self.config
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

    def _passed(
        self, seeds: Points, reach: FloatArray, steps: int, request: Request
    ) -> tuple[Points, Points]:
        """Go down from seeds [n], all sketches at once; the valid configs on the way.

        Returns
        -------
        free, bounded : Points
            Of the seeds that may go anywhere, and of those with a ``reach`` [n].
        """
        from mschedx.cost.learned.train import bounded_threads

        from .descent import Group, descend

        space, rng = request.space, request.rng
        free, near, groups, parts = [space.empty()], [space.empty()], [], []
        for s, positions, configs in space.groups(seeds):
            region = self._region(s, space)
            if region.movable.any():
                own = reach[positions]
                groups.append(Group(region, self._slope(request.scorer, s), configs, own))
                parts.append((s, region, np.tile(np.isfinite(own), steps)))
        if groups:
            with bounded_threads(self.config.threads):
                passed = descend(groups, replace(self.config.annealing, steps=steps))
            for (s, region, bounded), points in zip(parts, passed):
                free.append(space.lift(s, region.rounded(points[~bounded], rng)))
                near.append(space.lift(s, region.rounded(points[bounded], rng)))
        return Points.concatenate(free), Points.concatenate(near)

    def _slope(self, scorer: Scorer, sketch: int) -> Score:
        """What configs of a sketch go down on."""
        if isinstance(scorer, BlendedScorer):
            return scorer.lagging(sketch, self.config.draft_every)
        return partial(_score, scorer, sketch)

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
    works with any space and any cost model that has gradients; for others a round raises
    ``TypeError``, unless ``fallback`` is "score". Until the model is ready a draft leads.
    `mschedx.tune` and `mschedx.tune_model` take ``FelixMLP()`` beside it where none is given.

    Parameters
    ----------
    config : DescentConfig, optional
    draft : TVMCostModel, CostModel or "none", optional
        What leads before anything is measured, and offers seeds afterwards; `mschedx.cost.PSA` when
        None, unless the device has no `Hardware`. "none" samples until the model is ready.
    **changes
        Single parameters of `DescentConfig` to set, such as ``n_steps=32``.

    Raises
    ------
    ValueError, TypeError
        For a parameter outside its range, one that there is not, and a draft without gradients.
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
        super().__init__(
            make,
            batch=self.config.batch,
            pool=self.config.pool,
            drafts=self.draft is not None,
            gradients=self.config.fallback is Fallback.ERROR,
        )
