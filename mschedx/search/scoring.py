"""Scores of points, whatever kind of cost model stands behind them.

Our models score arrays. TVM's (``"xgb"``, a user's ``PyCostModel``) score materialised candidates,
milliseconds each; `capacity` tells a search how many points it may ask about in one round. A search
that drafts with a model of its own makes itself a second `ArrayScorer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mschedx.cost.base import (
    Annealable,
    CostModel,
    Differentiable,
    HasImportance,
    KnowsSkill,
    Measured,
    checked_scores,
)
from mschedx.run_stages import DRAFT, PREDICT, TRAIN, stage

from .history import History
from .points import FloatArray, Points, SketchSet

if TYPE_CHECKING:
    import torch

    from mschedx.space.task import Task


class Scorer(Protocol):
    """What a search asks about points."""

    capacity: int | None
    """Most points worth scoring per round; None when scoring costs next to nothing."""

    def learn(self, history: History) -> None:
        """Take note of all trials so far."""
        ...

    @property
    def ready(self) -> bool:
        """Whether scores say anything yet."""
        ...

    def score(self, points: Points) -> FloatArray:
        """Predict points [n]: float64 [n], finite, higher is better."""
        ...

    def skill(self) -> float | None:
        """Pairwise accuracy known of the model before anything is measured; None if it is not."""
        ...

    def importance(self) -> FloatArray | None:
        """How much each decision matters, [S, W], >= 0; None when not known."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether `relaxed_score` has an answer."""
        ...

    def relaxed_score(
        self, sketch: int, configs: torch.Tensor, width: float | None = None
    ) -> torch.Tensor:
        """Score relaxed configs [n, D] of a sketch: tensor [n], differentiable in them.

        Parameters
        ----------
        sketch : int
        configs : torch tensor [n, D]
        width : float, optional
            Of the smoothings, in (0, 1], for models that can choose it; others take no notice.

        Raises
        ------
        TypeError
            When the model has no gradients.
        """
        ...


WITH_GRADIENT = ("FelixMLP", "PAM", "PSA")
"""Models that are `Differentiable` as they are made, for messages; `MoA` needs weights first."""


def _without_gradient(model: str) -> TypeError:
    return TypeError(
        f"expected a differentiable cost model (mschedx.cost.Differentiable), got {model}, whose "
        f"scores have no gradient; those of {', '.join(WITH_GRADIENT)} in mschedx.cost have one"
    )


def measured_by_sketch(history: History, space: SketchSet) -> list[Measured]:
    """Split trials by sketch, one entry each, as a cost model learns them."""
    parts = []
    for s, sketch in enumerate(space.sketches):
        here = history.points.sketch == s
        configs = history.points.configs[here, : space.depths[s]]
        parts.append(Measured(sketch, configs, history.latency_s[here]))
    return parts


class ArrayScorer:
    """Scores by a `CostModel`.

    Parameters
    ----------
    model : CostModel
    space : SketchSet
    teach : callable, optional
        Has the model learn what was measured of a task, with what others know of the same one;
        when None it learns the history of this search.
    drafts : bool
        Whether it is a draft's: its seconds are then that stage's (`run_stages`).
    """

    capacity: int | None = None

    def __init__(
        self,
        model: CostModel,
        space: SketchSet,
        teach: Callable[[Task], None] | None = None,
        *,
        drafts: bool = False,
    ) -> None:
        self._model, self._space, self._teach = model, space, teach
        self._learning, self._scoring = (DRAFT, DRAFT) if drafts else (TRAIN, PREDICT)

    @property
    def ready(self) -> bool:
        return self._model.ready(self._space.task)

    def learn(self, history: History) -> None:
        with stage(self._learning):
            if self._teach is not None:
                self._teach(self._space.task)
            else:
                self._model.learn(self._space.task, measured_by_sketch(history, self._space))

    def score(self, points: Points) -> FloatArray:
        groups = self._space.groups(points)
        scores = np.empty(len(points))
        if groups:
            asked = [(self._space.sketches[s], configs) for s, _, configs in groups]
            with stage(self._scoring):
                raw = self._model.score(self._space.task, asked)
            order = np.concatenate([positions for _, positions, _ in groups])
            scores[order] = checked_scores(raw, len(points), type(self._model).__name__)
        return scores

    def skill(self) -> float | None:
        return self._model.skill() if isinstance(self._model, KnowsSkill) else None

    def importance(self) -> FloatArray | None:
        if not isinstance(self._model, HasImportance):
            return None
        found = np.zeros((len(self._space), self._space.width))
        known = False
        for s in self._space.opened:
            weights = self._model.importance(self._space.task, self._space.sketches[s])
            if weights is not None:
                found[s, : len(weights)] = weights
                known = True
        return found if known else None

    @property
    def differentiable(self) -> bool:
        return isinstance(self._model, Differentiable)

    def relaxed_score(
        self, sketch: int, configs: torch.Tensor, width: float | None = None
    ) -> torch.Tensor:
        if not isinstance(self._model, Differentiable):
            raise _without_gradient(type(self._model).__name__)
        asked = self._space.task, self._space.sketches[sketch], configs
        if width is not None and isinstance(self._model, Annealable):
            return self._model.annealed_score(*asked, width)
        return self._model.relaxed_score(*asked)


class CandidateScorer:
    """Scores by a TVM cost model, which sees materialised candidates.

    Parameters
    ----------
    predict : callable
        Takes n ``ms.MeasureCandidate`` objects and returns n scores.
    materialize : callable
        Takes Points [n], returns n candidates, None for those that cannot be materialised.
    capacity : int
        Most points to materialise for scoring in one round, >= 1.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Any]], Any],
        materialize: Callable[[Points], Sequence[Any | None]],
        capacity: int,
    ) -> None:
        self._predict, self._materialize = predict, materialize
        self.differentiable = False
        self.capacity: int | None = capacity
        self._ready = False

    @property
    def ready(self) -> bool:
        return self._ready

    def learn(self, history: History) -> None:
        # TVM's scheduler teaches its models itself, through a measure callback.
        self._ready = bool(history.succeeded.any())

    def score(self, points: Points) -> FloatArray:
        candidates = self._materialize(points)
        alive = [i for i, candidate in enumerate(candidates) if candidate is not None]
        if not alive:  # TVM cannot predict an empty list.
            return np.zeros(len(points))
        with stage(PREDICT):
            raw = self._predict([candidates[i] for i in alive])
        found = checked_scores(raw, len(alive), "behind cost_model=")
        # What has no program comes behind the worst that has one; scores may be negative.
        worst = float(found.min())
        scores = np.full(len(points), 0.0 if worst > 0 else np.nextafter(worst, -np.inf))
        scores[alive] = found
        return scores

    def skill(self) -> float | None:
        return None

    def importance(self) -> FloatArray | None:
        return None

    def relaxed_score(
        self, sketch: int, configs: torch.Tensor, width: float | None = None
    ) -> torch.Tensor:
        raise _without_gradient("one that scores candidates")


class NoScorer:
    """No cost model (``cost_model="none"``): every search samples."""

    capacity: int | None = None
    ready = False
    differentiable = False

    def learn(self, history: History) -> None:
        del history

    def score(self, points: Points) -> FloatArray:
        return np.ones(len(points))

    def skill(self) -> float | None:
        return None

    def importance(self) -> FloatArray | None:
        return None

    def relaxed_score(
        self, sketch: int, configs: torch.Tensor, width: float | None = None
    ) -> torch.Tensor:
        raise _without_gradient("none")
