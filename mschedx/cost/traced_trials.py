"""Trials that arrive as traces, sorted by sketch: what TVM shows a cost model of one task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mschedx.space.resolver import Resolver

from .base import CostModel, FloatArray, IntArray, Measured, ReadsTraces, by_key, checked_scores
from .trace_features import from_candidates
from .training_rows import TrainingRows

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task

OpensSpace = Callable[[], Resolver]
"""Opens the space that candidates are of now, which may be another than it was."""


@dataclass(frozen=True)
class Sorted:
    """Candidates by sketch.

    Parameters
    ----------
    asked : list of (Sketch, int64 array [m, D])
    order : int64 array [Σ m]
        Which candidate each config is.
    others : int64 array
        Candidates that fit no sketch.
    """

    asked: list[tuple[Sketch, IntArray]]
    order: IntArray
    others: IntArray


class TracedTrials:
    """Everything measured of one task, fed by traces.

    Parameters
    ----------
    resolver : Resolver, optional
        Knows sketches of the task; none when None.
    """

    def __init__(self, resolver: Resolver | None = None) -> None:
        self._resolver = Resolver([]) if resolver is None else resolver
        self._unknown: set[str] = set()
        self._configs: dict[str, list[IntArray]] = {}
        self._latency_s: dict[str, list[FloatArray]] = {}
        self._others = TrainingRows.join([])

    def of_sketches(self, sketches: Sequence[Sketch]) -> TracedTrials:
        """The same trials, where these sketches stand for those of their keys, and come first."""
        keys = {sketch.key for sketch in sketches}
        others = [sketch for sketch in self._resolver.sketches if sketch.key not in keys]
        found = TracedTrials(Resolver([*sketches, *others]))
        found._configs, found._latency_s = dict(self._configs), dict(self._latency_s)
        found._others = self._others
        return found

    def replace(self, measured: Sequence[Measured]) -> None:
        """Forget what is known of sketches and take these trials instead."""
        parts = by_key(measured)
        self._configs = {part.sketch.key: [part.configs] for part in parts}
        self._latency_s = {part.sketch.key: [part.latency_s] for part in parts}

    def sort(self, candidates: Sequence[Any], space: OpensSpace | None = None) -> Sorted:
        """Find the sketches and configs of ``ms.MeasureCandidate`` objects.

        ``space`` is called where some are of a design space that none was of before.
        """
        traces = [candidate.sch.trace for candidate in candidates]
        found = self._resolver.resolve(traces)
        if space is not None and found.unknown - self._unknown:
            self._unknown |= found.unknown
            self._add_sketches(space())
            found = self._resolver.resolve(traces)
        asked, order = [], [np.empty(0, dtype=np.int64)]
        for s in np.unique(found.sketch[found.sketch >= 0]):
            positions, configs = found.of(int(s))
            asked.append((self._resolver.sketches[s], configs))
            order.append(positions)
        return Sorted(asked, np.concatenate(order), np.flatnonzero(found.sketch < 0))

    def add(
        self, candidates: Sequence[Any], latency_s: FloatArray, space: OpensSpace | None = None
    ) -> None:
        """Append candidates [n] and their latencies [n] (seconds, ``inf`` = failed)."""
        by_sketch = self.sort(candidates, space)
        start = 0
        for sketch, configs in by_sketch.asked:
            positions = by_sketch.order[start : start + len(configs)]
            start += len(configs)
            self._configs.setdefault(sketch.key, []).append(configs)
            self._latency_s.setdefault(sketch.key, []).append(latency_s[positions])
        if len(by_sketch.others):
            others = [candidates[i] for i in by_sketch.others]
            rows = from_candidates(others, latency_s[by_sketch.others])
            self._others = TrainingRows.join([self._others, rows])

    def _add_sketches(self, resolver: Resolver) -> None:
        known = {sketch.key for sketch in self._resolver.sketches}
        more = [sketch for sketch in resolver.sketches if sketch.key not in known]
        if more:
            self._resolver = Resolver([*self._resolver.sketches, *more])

    def measured(self) -> list[Measured]:
        """All trials by sketch, empty ones too; of sketches with one key the first has all."""
        measured = []
        known_configs, known_s = dict(self._configs), dict(self._latency_s)
        for sketch in self._resolver.sketches:
            empty = np.empty((0, len(sketch.decisions)), dtype=np.int64)
            configs = [empty, *known_configs.pop(sketch.key, [])]
            latency_s = [np.empty(0), *known_s.pop(sketch.key, [])]
            measured.append(Measured(sketch, np.concatenate(configs), np.concatenate(latency_s)))
        return measured

    def teach(self, model: CostModel, task: Task) -> None:
        """Let a model learn all of it."""
        model.learn(task, self.measured())
        if len(self._others) and isinstance(model, ReadsTraces):
            model.learn_traces(task, self._others)

    def score(
        self,
        model: CostModel,
        task: Task,
        candidates: Sequence[Any],
        space: OpensSpace | None = None,
    ) -> FloatArray:
        """Score candidates [n]; those that fit no sketch rank last if the model reads no traces."""
        name = type(model).__name__
        scores = np.ones(len(candidates))
        by_sketch = self.sort(candidates, space)
        if by_sketch.asked:
            raw = model.score(task, by_sketch.asked)
            scores[by_sketch.order] = checked_scores(raw, len(by_sketch.order), name)
        others = by_sketch.others
        if not len(others):
            return scores
        if isinstance(model, ReadsTraces):
            raw = model.score_traces(task, from_candidates([candidates[i] for i in others]))
            scores[others] = checked_scores(raw, len(others), name)
        else:
            scores[others] = scores[by_sketch.order].min(initial=1.0)
        return scores
