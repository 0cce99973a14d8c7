"""Scores of points, whatever kind of cost model stands behind them.

Our models score arrays. TVM's (``"xgb"``, a user's ``PyCostModel``) score materialised candidates,
milliseconds each; `capacity` tells a search how many points it may ask about in one round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from mschedx.cost.base import ArrayModel, Measured

from .history import History
from .points import FloatArray, Points, SketchSet


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

    def importance(self) -> FloatArray | None:
        """How much each decision matters, [S, W], >= 0; None when not known."""
        ...


def checked(scores: Any, count: int, model: str) -> FloatArray:
    """Return scores as float64 [count].

    Raises
    ------
    ValueError
        If the model returned another number of scores, or one that is not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (count,):
        raise ValueError(
            f"cost model {model}: expected {count} scores, one per candidate, got an array of "
            f"shape {scores.shape}"
        )
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise ValueError(
            f"cost model {model}: {bad} of {count} scores are not finite; a score must be a "
            "number, higher for a faster candidate"
        )
    return scores


class ArrayScorer:
    """Scores by an `ArrayModel`.

    Parameters
    ----------
    model : ArrayModel
    task : str
        What the model calls this task.
    space : SketchSet
    """

    capacity: int | None = None

    def __init__(self, model: ArrayModel, task: str, space: SketchSet) -> None:
        self._model, self._task, self._space = model, task, space
        self._ready = False

    @property
    def ready(self) -> bool:
        return self._ready

    def learn(self, history: History) -> None:
        depths = self._space.depths
        measured = []
        for s, sketch in enumerate(self._space.sketches):
            of_sketch = history.points.sketch == s
            configs = history.points.configs[of_sketch, : depths[s]]
            measured.append(Measured(sketch, configs, history.latency_s[of_sketch]))
        self._model.learn(self._task, measured)
        self._ready = bool(history.succeeded.any())

    def score(self, points: Points) -> FloatArray:
        groups = self._space.groups(points)
        asked = [(self._space.sketches[s], configs) for s, _, configs in groups]
        raw = self._model.score(self._task, asked)
        scores = np.empty(len(points))
        order = [positions for _, positions, _ in groups]
        scores[np.concatenate(order)] = checked(raw, len(points), type(self._model).__name__)
        return scores

    def importance(self) -> FloatArray | None:
        found = np.zeros((len(self._space), self._space.width))
        known = False
        for s, sketch in enumerate(self._space.sketches):
            weights = self._model.importance(self._task, sketch)
            if weights is not None:
                found[s, : len(weights)] = weights
                known = True
        return found if known else None


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
        scores = np.zeros(len(points))
        if alive:
            # TVM cannot predict an empty list.
            raw = self._predict([candidates[i] for i in alive])
            scores[alive] = checked(raw, len(alive), "behind cost_model=")
        return scores

    def importance(self) -> FloatArray | None:
        return None


class NoScorer:
    """No cost model (``cost_model="none"``): every search samples."""

    capacity: int | None = None
    ready = False

    def learn(self, history: History) -> None:
        del history

    def score(self, points: Points) -> FloatArray:
        return np.ones(len(points))

    def importance(self) -> FloatArray | None:
        return None
