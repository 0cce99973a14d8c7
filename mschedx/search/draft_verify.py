"""Pruner's two stages: an analytical model drafts, the learned one verifies.

Drafting, every other round: a population evolves by the analytical model, and the best points not
yet measured are kept as drafts, some of every niche. Verifying, every round: drafts, fresh samples
and the fastest points so far evolve once by the learned model, and the batch is picked from all of
them. Until the learned model knows anything, the best drafts are measured. How many drafts there
are is decided by how the analytical model ranks what has been measured, and so is how much of its
opinion counts when verifying (`blend`). What the scores got wrong about measured points corrects
those of points like them, and a batch is what is expected to hold the fastest (`corrected`).

References
----------
Qiao et al., "Pruner: A Draft-then-Verify Exploration Mechanism to Accelerate Tensor Program
Tuning", ASPLOS 2025, sections 3 and 4; parameters as in github qiaolian9/Pruner.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mschedx.cost import PSA
from mschedx.cost.adapter import model_behind
from mschedx.cost.base import CostModel
from mschedx.ranges import require_counts, require_shares
from mschedx.run_stages import DRAFT, stage

from .base import logger
from .blend import Blend, BlendedScorer
from .corrected import CorrectedScorer
from .draft_quality import DraftQuality
from .history import History
from .mutation import Mutation
from .niches import Niches, spread
from .notes import tell
from .pick import EpsilonGreedy
from .points import IntArray, Points, SketchSet
from .pool import Scored, gather
from .population import evolve
from .request import Request
from .scoring import ArrayScorer, Scorer
from .strategy import Strategy


@dataclass(frozen=True)
class DraftVerifyConfig:
    """Parameters of the two stages.

    The paper's are the population, the generations, `drafts`, `refresh`, `measured_share`,
    `mutation` and `epsilon`; the others are ours, see `as_published`.

    Parameters
    ----------
    population : int
        Points of a generation, in both stages.
    draft_generations, verify_generations : int
        Generations of each stage.
    drafts : int
        Drafts kept.
    refresh : int
        Rounds that drafts serve.
    measured_share : float
        Fastest points so far in the population, as a share of it, at most.
    parents : int
        Points drawn as parents of a generation, different ones, in proportion to their scores less
        the least score (`pick.roulette`). The paper draws each parent from all, with replacement
        and in proportion to the score, which is 1 / latency.
    mutation : float
        Probability that a child differs from its parent.
    epsilon : float
        Share of a batch picked by chance.
    batch : int, optional
        Most candidates per round; from the number of trials when None (the paper: 10).
    seeded : bool
        Whether drafting starts from the fastest points so far too, not from samples alone.
    niche_share : float
        Drafts of one niche, as a share of all, at most; 1 does not look at niches.
    adapt : bool
        Whether the number of drafts follows from how the draft ranks what was measured.
    least_trials : int
        Trials that must have run for that.
    least_correlation : float
        Rank correlation below which drafting stops and samples take the drafts' places.
    pool : int
        Most points to score in a round when scoring means materialising (TVM's models).
    blend : bool
        Whether the draft's opinion counts when verifying too, as far as it has ranked what was
        measured better than the learned model did (`blend`).
    correct : bool
        Whether what scores got wrong about measured configs corrects those of configs like them
        (`error_process`), and a batch is what is expected to hold the fastest.

    Raises
    ------
    ValueError
        For a parameter outside its range.
    """

    population: int = 1536
    draft_generations: int = 2
    drafts: int = 512
    refresh: int = 2
    verify_generations: int = 1
    measured_share: float = 0.1
    parents: int = 384
    mutation: float = 0.85
    epsilon: float = 0.1
    batch: int | None = None
    seeded: bool = True
    niche_share: float = 0.125
    adapt: bool = True
    least_trials: int = 24
    least_correlation: float = 0.0
    pool: int = 256
    blend: bool = True
    correct: bool = True

    def __post_init__(self) -> None:
        require_counts(self, "population", "drafts", "refresh", "parents", "least_trials", "pool")
        require_counts(self, "batch", optional=True)
        require_counts(self, "draft_generations", "verify_generations", least=0)
        require_shares(self, "measured_share", "mutation", "epsilon")
        require_shares(self, "niche_share", zero=False)

    @classmethod
    def as_published(cls) -> DraftVerifyConfig:
        """The paper's search: as many drafts always, from samples alone, the best of any niche.

        Ours stay: how parents are drawn (see ``parents``); mutation, which frees any decision
        alike, where the paper's frees a tile's sizes in 0.9 of the cases, the unrolling in 0.1 and
        a vector's length never; and what drafts, unless `DraftVerify` is given
        ``PSA(form="published")``, for a GPU: by itself it takes the improved PSA, which learns.
        """
        return cls(
            batch=10,
            seeded=False,
            measured_share=153 / 1536,  # a tenth, rounded down
            niche_share=1.0,
            adapt=False,
            blend=False,
            correct=False,
        )


class DraftThenVerify:
    """The two stages of one task; a `Search`.

    Parameters
    ----------
    draft : CostModel
        Analytical, or anything else that is ready before it is measured.
    config : DraftVerifyConfig
    """

    def __init__(self, draft: CostModel, config: DraftVerifyConfig) -> None:
        self.config = config
        self._model = draft
        self._round: int | None = None
        self._measured = 0
        self._begun = 0
        self._due = True
        self._drafts: Scored | None = None
        self._niches: Niches | None = None
        self._quota = config.drafts
        self._given_up = False
        self._blend = Blend()

    def propose(self, request: Request) -> Points:
        count, space, history = request.count, request.space, request.history
        scorer, rng = request.scorer, request.rng
        config = self.config
        # What cannot be built is asked for again within a round.
        if self._round is None or len(history) != self._measured:
            self._round = 0 if self._round is None else self._round + 1
            self._measured = len(history)
            self._due = self._round % config.refresh == 0
        # Design spaces that were not open had no drafts; they may open within a round, too.
        if space.begun > self._begun:
            self._begun, self._due = space.begun, True
        samples = space.sample(config.population, rng)
        drafts = self._current(samples, request).untried(history.tried)
        opinion = self._opinion(space, history, scorer)
        verifier = self._corrected(opinion, space, history)
        if scorer.ready:
            found = self._verified(drafts.points, samples, replace(request, scorer=verifier))
            found = found.untried(history.tried)
        elif isinstance(verifier, CorrectedScorer):
            found = Scored.by(verifier, drafts.points)
        else:
            found = self._spread(drafts, space, 2 * count)
        if isinstance(verifier, CorrectedScorer) and len(found) >= count:
            order = self._batch(found, verifier, count, rng)
        else:
            found = found.filled(count, space, history.tried, rng)
            order = EpsilonGreedy(config.epsilon)(found.scores, count, rng)
        chosen = found.points.take(order[: 2 * count])
        if isinstance(opinion, BlendedScorer):
            self._blend.expect(chosen, opinion)
        return chosen

    def _batch(
        self, found: Scored, verifier: CorrectedScorer, count: int, rng: np.random.Generator
    ) -> IntArray:
        """The batch that is expected to hold the fastest, a share of it by chance, then spares."""
        chosen = verifier.batch(found, 2 * count, rng)
        by_score = np.argsort(-found.scores, kind="stable")
        # A verifier considers so many at most; a batch may be larger.
        order = np.concatenate([chosen, by_score[~np.isin(by_score, chosen)]])
        first = round((1 - self.config.epsilon) * count)
        rest = order[first:]
        lucky = rest[rng.permutation(len(rest))[: count - first]]
        return np.concatenate([order[:first], lucky, rest[~np.isin(rest, lucky)]])

    # Drafting.

    def _current(self, samples: Points, request: Request) -> Scored:
        """The drafts that serve this round, made afresh when those before have served theirs."""
        if self._drafts is None or self._due:
            self._due = False
            with stage(DRAFT):
                self._drafts = self._afresh(samples, request)
        return self._drafts

    def _afresh(self, samples: Points, request: Request) -> Scored:
        """Drafts of what is known by now, which is judged by what has been measured."""
        space, history = request.space, request.history
        scorer = ArrayScorer(self._model, space, drafts=True)
        if len(history):
            # Before it learns, so that some of the trials are new to it.
            self._judge(scorer, history, space)
        # Nothing, too: what another run of this strategy has measured is not this one's.
        scorer.learn(history)
        return self._drafted(samples, replace(request, scorer=scorer))

    def _drafted(self, samples: Points, request: Request) -> Scored:
        config, space, scorer = self.config, request.space, request.scorer
        if not scorer.ready:
            tell(
                logging.WARNING,
                "task %s: %s has nothing to say before it is measured: no drafts for %d rounds",
                space.task.name,
                type(self._model).__name__,
                config.refresh,
            )
        if not self._quota or not scorer.ready:
            return Scored(space.empty(), np.empty(0))
        fastest = request.history.best(self._most_measured) if config.seeded else space.empty()
        seen, _ = evolve(
            Scored.by(scorer, gather(fastest, samples)),
            space,
            scorer,
            Mutation(config.mutation),
            request.rng,
            size=config.population,
            generations=config.draft_generations,
            parents=config.parents,
            elites=0,
        )
        return self._spread(seen.untried(request.history.tried), space, self._quota)

    def _spread(self, scored: Scored, space: SketchSet, count: int) -> Scored:
        """The best, some of every niche."""
        if self.config.niche_share == 1:
            return scored.best(count)
        if self._niches is None:
            self._niches = Niches(space)
        return spread(scored, self._niches.of(scored.points), count, self.config.niche_share)

    def _judge(self, scorer: Scorer, history: History, space: SketchSet) -> None:
        """Set the number of drafts by what has been measured, and say so when it changes."""
        config = self.config
        if not config.adapt or not scorer.ready:
            return
        quality = DraftQuality.of(history.latency_s, scorer.score(history.points))
        before = self._quota
        self._quota = quality.quota(
            config.drafts, config.population, config.least_trials, config.least_correlation
        )
        name = space.task.name
        if not self._quota and not self._given_up:
            self._given_up = True
            text = "task %s: the draft is given up, the search samples instead: %s"
            tell(logging.INFO, text, name, quality)
        elif self._quota != before:
            text = "task %s: %d drafts from now on, not %d: %s"
            logger.info(text, name, self._quota, before, quality)

    @property
    def _most_measured(self) -> int:
        return round(self.config.measured_share * self.config.population)

    # Verifying.

    def _corrected(self, scorer: Scorer, space: SketchSet, history: History) -> Scorer:
        """The same, corrected where that is asked for and costs little.

        Where it says nothing yet, the draft speaks.
        """
        if not self.config.correct or scorer.capacity is not None:
            return scorer
        known = scorer if scorer.ready else ArrayScorer(self._model, space, drafts=True)
        return CorrectedScorer(known, space, history) if known.ready else scorer

    def _opinion(self, space: SketchSet, history: History, scorer: Scorer) -> Scorer:
        """The learned model's, blended with the draft's where that is asked for."""
        if not self.config.blend:
            return scorer
        self._blend.observe(history)
        draft = ArrayScorer(self._model, space, drafts=True)
        if not (scorer.ready and draft.ready):
            return scorer
        if len(history):
            draft.learn(history)
        return self._blend.scorer(draft, scorer)

    def _verified(self, drafts: Points, samples: Points, request: Request) -> Scored:
        config, scorer = self.config, request.scorer
        size, generations = config.population, config.verify_generations
        fastest = request.history.best(self._most_measured)
        start = gather(drafts, fastest, samples)
        if scorer.capacity is not None:
            size = max(min(scorer.capacity, config.pool) // (generations + 1), 1)
            # The best drafts first; a few of the fastest keep their place beside them.
            few = fastest.take(np.arange(min(len(fastest), size // 4)))
            start = gather(few, drafts, samples)
            start = start.take(np.arange(min(len(start), size)))
        seen, _ = evolve(
            Scored.by(scorer, start),
            request.space,
            scorer,
            Mutation(config.mutation),
            request.rng,
            size=size,
            generations=generations,
            parents=config.parents,
            elites=0,
        )
        return seen


class DraftVerify(Strategy):
    """Pruner's draft-then-verify search as a MetaSchedule strategy.

    ``ms.tune_tir(..., strategy=mschedx.DraftVerify(), cost_model=mschedx.cost.PAM())`` works with
    any space and any cost model, which verifies what the draft proposes.

    Parameters
    ----------
    draft : TVMCostModel or CostModel, optional
        What drafts; `mschedx.cost.PSA` when None.
    config : DraftVerifyConfig, optional
    **changes
        Single parameters of `DraftVerifyConfig` to set, such as ``drafts=256``.

    Raises
    ------
    ValueError, TypeError
        For a parameter outside its range, and one that there is not.
    """

    def __init__(
        self, draft: Any = None, config: DraftVerifyConfig | None = None, **changes: Any
    ) -> None:
        self.config = replace(config or DraftVerifyConfig(), **changes)
        self.draft = draft_model(draft)
        make = partial(DraftThenVerify, self.draft, self.config)
        super().__init__(make, batch=self.config.batch, pool=self.config.pool, drafts=True)


def draft_model(draft: Any = None) -> CostModel:
    """Return the cost model that drafts; of a `TVMCostModel`, what is behind it."""
    return model_behind(PSA() if draft is None else draft)
