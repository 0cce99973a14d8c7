"""Two opinions of a point as one score, each with the weight that it has earned.

The draft and the learned model of a draft-then-verify search err differently: an analyzer knows the
machine and no compiler, a network what was compiled before, and one that was trained elsewhere may
rank a task worse than the draft does. What each says of the points of a round is kept until they
are measured, and its weight follows from how it ordered them::

    τ = 2 · (share of pairs it had in the right order) − 1
    r = sin(π/2 · τ)
    weight ∝ r / (1 − r²), none where r ≤ 0

r is the correlation behind Kendall's τ between normal variables (Greiner), and these are the
weights of the best linear prediction from two standardised opinions that err independently. A
perfect one takes over, one that knows nothing is left out.

Predictions are those of before the measurement, and pairs those of one round, whose predictions
come from one state of a model. Each round counts less than the next, since models learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mschedx.cost.learned.metrics import pairwise_accuracy

from .history import History
from .points import FloatArray, Points
from .scoring import Scorer

if TYPE_CHECKING:
    import torch

    from .descent import Score

DRAFT_ACCURACY = 0.7
"""Pairwise accuracy that a draft is taken to have which does not say what it had."""

PRIOR_TRIALS = 16.0
"""Trials that what is known of an opinion before the first is worth."""

FADE = 0.9
"""What a round counts, of the one after it."""


@dataclass(frozen=True)
class Skill:
    """How well an opinion orders the trials of a task.

    Parameters
    ----------
    accuracy : float
        Share of pairs in the right order, in [0, 1]; ½ for one that knows nothing.
    trials : float
        How many that is known from, >= 0.
    """

    accuracy: float
    trials: float

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy <= 1:
            raise ValueError(f"expected Skill.accuracy in [0, 1], got {self.accuracy}")
        if not self.trials >= 0:
            raise ValueError(f"expected Skill.trials >= 0, got {self.trials}")

    @property
    def correlation(self) -> float:
        """The correlation r of an opinion with speed, in [−1, 1]."""
        return math.sin(math.pi / 2 * (2 * self.accuracy - 1))

    def after(self, latency_s: FloatArray, scores: FloatArray, fade: float = FADE) -> Skill:
        """Add a round: latencies [n] (seconds, ``inf`` = failed) and what was predicted [n].

        What failed is left out, and a round without two different latencies changes nothing.
        """
        ran = np.isfinite(latency_s)
        found = pairwise_accuracy(latency_s[ran], scores[ran])
        if math.isnan(found):
            return self
        before, here = fade * self.trials, float(ran.sum())
        total = before + here
        return Skill((before * self.accuracy + here * found) / total, total)


def share(draft: Skill, model: Skill) -> float:
    """The model's weight, in [0, 1]; the draft has the rest, each half where neither is any use."""
    worth = [max(one.correlation, 0.0) for one in (draft, model)]
    # r / (1 − r²), written so that a perfect opinion divides by nothing.
    of_draft = worth[0] * (1 - worth[1] ** 2)
    of_model = worth[1] * (1 - worth[0] ** 2)
    total = of_draft + of_model
    return of_model / total if total > 0 else 0.5


@dataclass(frozen=True)
class Scale:
    """A scale on which scores of one opinion are comparable to those of another.

    Parameters
    ----------
    centre, width : float
        Mean and standard deviation; a width of 0, where all were equal, says nothing of anything.
    by_factors : bool
        Whether they are those of logarithms: what is always positive, a speed or a share of a
        wheel, differs by factors. A network's scores may all be below 1e-6, the best by far the
        largest; by itself it would be all that counts.
    """

    centre: float
    width: float
    by_factors: bool = False

    @classmethod
    def of(cls, scores: FloatArray) -> Scale:
        """Take the scale of finite scores [n]; that of none says nothing."""
        if not np.isfinite(scores).all():
            bad = int((~np.isfinite(scores)).sum())
            raise ValueError(f"expected finite scores, got {bad} of {len(scores)} that are not")
        if not len(scores):
            return cls(0.0, 0.0)
        by_factors = bool((scores > 0).all())
        values = _logarithms(scores) if by_factors else scores
        width, centre = float(values.std()), float(values.mean())
        # Rounding leaves equal scores a width.
        return cls(centre, width if width > 1e-12 * abs(centre) else 0.0, by_factors)

    def __call__(self, scores: FloatArray) -> FloatArray:
        """Standardise scores [n]."""
        if not self.width:
            return np.zeros(len(scores))
        values = _logarithms(scores) if self.by_factors else scores
        return (values - self.centre) / self.width

    def relaxed(self, scores: torch.Tensor) -> torch.Tensor:
        """Standardise scores [n] that have gradients."""
        if not self.width:
            return scores * 0
        values = scores.clamp(min=np.finfo(float).tiny).log() if self.by_factors else scores
        return (values - self.centre) / self.width


def _logarithms(scores: FloatArray) -> FloatArray:
    return np.log(np.maximum(scores, np.finfo(float).tiny))


class BlendedScorer:
    """Both opinions at once; a `Scorer`.

    The first points that are scored set both scales: a search scores its pool first, then children
    of it, or what lies down the slope from it.

    Parameters
    ----------
    draft, model : Scorer
    share : float
        The model's weight, in [0, 1].
    """

    def __init__(self, draft: Scorer, model: Scorer, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"expected a share in [0, 1], got {share}")
        self._draft, self._model, self.share = draft, model, share
        self.capacity = model.capacity
        self._scales: tuple[Scale, Scale] | None = None

    @property
    def ready(self) -> bool:
        return self._draft.ready and self._model.ready

    def learn(self, history: History) -> None:
        self._draft.learn(history)
        self._model.learn(history)

    def skill(self) -> float | None:
        return None

    def opinions(self, points: Points) -> tuple[FloatArray, FloatArray]:
        """What the draft and the model say of points [n], each on its own scale."""
        return self._draft.score(points), self._model.score(points)

    def score(self, points: Points) -> FloatArray:
        return self.with_draft(points)[1]

    def with_draft(self, points: Points) -> tuple[FloatArray, FloatArray]:
        """What the draft says of points [n], on its own scale, and both together."""
        drafted, learned = self.opinions(points)
        if self._scales is None:
            self._scales = Scale.of(drafted), Scale.of(learned)
        of_draft, of_model = self._scales
        both = (1 - self.share) * of_draft(drafted) + self.share * of_model(learned)
        return drafted, both

    def importance(self) -> FloatArray | None:
        return self._model.importance()

    @property
    def differentiable(self) -> bool:
        return self._draft.differentiable and self._model.differentiable

    def relaxed_score(
        self, sketch: int, configs: torch.Tensor, width: float | None = None
    ) -> torch.Tensor:
        """Score relaxed configs of a sketch, once points have been scored."""
        draft, model = self._parts(sketch)
        return draft(configs, width) + model(configs, width)

    def lagging(self, sketch: int, every: int) -> Score:
        """Score relaxed configs as a descent does, with a draft's slope at every so-manieth step.

        Parameters
        ----------
        sketch : int
        every : int
            See `Lagging`.
        """
        from .lagging import Lagging

        draft, model = self._parts(sketch)
        slow = Lagging(draft, every)
        return lambda configs, width: slow(configs, width) + model(configs, width)

    def _parts(self, sketch: int) -> list[Callable[[torch.Tensor, float | None], torch.Tensor]]:
        """What the draft and the model add to a relaxed score."""
        if self._scales is None:
            raise RuntimeError("expected points to be scored before relaxed ones: they set scales")
        weights = 1 - self.share, self.share

        def part(i: int, configs: torch.Tensor, width: float | None) -> torch.Tensor:
            # What has no say is not asked: slopes are what a descent spends its time on.
            if not weights[i] or not scales[i].width:
                return configs.sum(dim=1).double() * 0
            scores = opinions[i].relaxed_score(sketch, configs, width)
            return weights[i] * scales[i].relaxed(scores)

        opinions, scales = (self._draft, self._model), self._scales
        return [partial(part, i) for i in range(2)]


class Blend:
    """What a task's two opinions have been worth so far, and their blend."""

    def __init__(self) -> None:
        self.skills: tuple[Skill, Skill] | None = None
        self._expected: dict[bytes, tuple[float, float]] = {}
        self._measured = 0

    def observe(self, history: History) -> None:
        """Hold what was expected of the trials that are new against their latencies."""
        new = np.arange(self._measured, len(history))
        self._measured = len(history)
        known = [self._expected.get(code) for code in history.points.take(new).codes()]
        rows = [i for i, one in zip(new, known) if one is not None]
        if rows and self.skills is not None:
            expected = np.array([one for one in known if one is not None])
            draft, model = self.skills
            latency_s = history.latency_s[rows]
            self.skills = (
                draft.after(latency_s, expected[:, 0]),
                model.after(latency_s, expected[:, 1]),
            )
        if len(new):
            self._expected.clear()

    def scorer(self, draft: Scorer, model: Scorer) -> BlendedScorer:
        """Both as one, as much of each as it has been worth."""
        if self.skills is None:
            known = draft.skill(), model.skill()
            self.skills = (
                Skill(DRAFT_ACCURACY if known[0] is None else known[0], PRIOR_TRIALS),
                Skill(0.5 if known[1] is None else known[1], PRIOR_TRIALS),
            )
        return BlendedScorer(draft, model, share(*self.skills))

    def expect(self, points: Points, scorer: BlendedScorer) -> None:
        """Keep what both say of points that may be measured next."""
        opinions = scorer.opinions(points)
        self._expected.update(zip(points.codes(), zip(*(one.tolist() for one in opinions))))
