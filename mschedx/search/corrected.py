"""Opinions of a point, corrected by what they got wrong about measured points like it.

Each opinion, the draft's and that of what verifies, is the mean of an `ErrorProcess`. How likely it
makes the measurements is how far it is believed (Bayesian model averaging); but one that is
believed wrong is still heard, since what it has been judged by is what the others chose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .blend import BlendedScorer, Scale
from .error_process import ErrorProcess
from .expected_best import DRAWS, distances, greedily
from .history import History
from .points import FloatArray, IntArray, Points, SketchSet
from .pool import Scored
from .scoring import Scorer

if TYPE_CHECKING:
    import torch

LEAST_BELIEF = 0.125
"""Of an opinion; by hand."""

MEASURED = 256
"""Measurements that are looked at, the fastest: what a round costs grows with their cube."""

_CONSIDERED = 384
"""Points of which a batch is chosen, those that any opinion has first: it costs their cube."""


@dataclass(frozen=True)
class _Fit:
    """What an opinion is worth.

    Parameters
    ----------
    scale : Scale
        Of the first points that were scored.
    process : ErrorProcess
    belief : float
        Share of the draws, in (0, 1].
    """

    scale: Scale
    process: ErrorProcess
    belief: float


class CorrectedScorer:
    """Expected ln(1 / seconds), by opinions and by their errors so far; a `Scorer`.

    The first points that are scored set the scales: a search scores its pool first.

    Parameters
    ----------
    scorer : Scorer
        Of which scores cost next to nothing (``capacity`` None). Of a `BlendedScorer` the draft's
        opinion is one of its own, beside that of both.
    space : SketchSet
    history : History
    """

    capacity: int | None = None

    def __init__(self, scorer: Scorer, space: SketchSet, history: History) -> None:
        self._scorer, self._space, self._history = scorer, space, history
        self._fits: tuple[_Fit, ...] = ()
        self._known: dict[bytes, tuple[float, ...]] = {}

    @property
    def ready(self) -> bool:
        return self._scorer.ready

    def learn(self, history: History) -> None:
        self._scorer.learn(history)
        self._history, self._fits, self._known = history, (), {}

    def score(self, points: Points) -> FloatArray:
        scores = self._scores(points)
        beliefs = np.array([fit.belief for fit in self._fitted(scores)])
        return beliefs @ self._means(points, scores)

    def _scores(self, points: Points) -> list[FloatArray]:
        """What each opinion says of points [n]; it is asked once, every sketch costs its own."""
        codes = points.codes()
        new = np.array([code not in self._known for code in codes], dtype=bool)
        asked = points.take(new)
        if isinstance(self._scorer, BlendedScorer):
            found = self._scorer.with_draft(asked)
        else:
            found = (self._scorer.score(asked),)
        self._known.update(zip(asked.codes(), zip(*(one.tolist() for one in found))))
        rows = np.array([self._known[code] for code in codes]).reshape(len(codes), len(found))
        return list(rows.T)

    def _means(self, points: Points, scores: list[FloatArray]) -> FloatArray:
        """Expected ln(1 / seconds) of points [n] by each of m opinions: [m, n]."""
        fits = self._fitted(scores)
        apart = distances(fits[0].process.points, points, self._space)
        return np.stack(
            [fit.process.mean(points, fit.scale(own), apart) for fit, own in zip(fits, scores)]
        )

    def _fitted(self, scores: list[FloatArray]) -> tuple[_Fit, ...]:
        if not self._fits:
            points = self._history.best(MEASURED)
            latency_s = np.sort(self._history.latency_s)[: len(points)]
            scales = [Scale.of(own) for own in scores]
            processes = [
                ErrorProcess.of(self._space, points, scale(own), latency_s)
                for scale, own in zip(scales, self._scores(points))
            ]
            beliefs = believed(np.array([one.log_likelihood for one in processes])).tolist()
            self._fits = tuple(map(_Fit, scales, processes, beliefs))
        return self._fits

    def batch(self, found: Scored, count: int, rng: np.random.Generator) -> IntArray:
        """Positions in ``found`` of a batch, each of which adds most to the expected fastest.

        Parameters
        ----------
        found : Scored [n]
            By this scorer.
        count : int

        Returns
        -------
        int64 array [min(count, n)]
            None beyond the 384 that are considered.
        """
        scores = self._scores(found.points)
        fits = self._fitted(scores)
        means = self._means(found.points, scores)
        share = _CONSIDERED // len(fits)
        considered = np.unique(np.argsort(-means, axis=1, kind="stable")[:, :share])
        few = found.take(considered)
        apart = distances(fits[0].process.points, few.points, self._space)
        among = distances(few.points, few.points, self._space)
        drawn = [
            fit.process.draws(
                few.points, fit.scale(own[considered]), apart, among, _draws(fit.belief), rng
            )
            for fit, own in zip(fits, scores)
        ]
        ran = self._history.succeeded.any()
        fastest = -float(np.log(self._history.best_s)) if ran else None
        return considered[greedily(np.hstack(drawn), few.scores, count, fastest)]

    def skill(self) -> float | None:
        return self._scorer.skill()

    def importance(self) -> FloatArray | None:
        return self._scorer.importance()

    @property
    def differentiable(self) -> bool:
        return False

    def relaxed_score(
        self, sketch: int, configs: torch.Tensor, width: float | None = None
    ) -> torch.Tensor:
        raise TypeError("a corrected score has no gradient: configs differ or they do not")


def _draws(belief: float) -> int:
    return max(round(belief * DRAWS), 1)


def believed(log_likelihood: FloatArray) -> FloatArray:
    """Beliefs [m] in opinions of equal prior chances, none below `LEAST_BELIEF`: they sum to 1."""
    chances = np.exp(log_likelihood - log_likelihood.max())
    spare = 1 - LEAST_BELIEF * len(chances)
    return LEAST_BELIEF + spare * chances / chances.sum()
