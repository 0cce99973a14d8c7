"""What a search asks of a cost model, on arrays.

A search hands a model everything it has measured (`CostModel.learn`), asks whether it can tell
anything yet (`ready`) and asks for scores (`score`). What only some models can do is a protocol of
its own: say which decisions matter (`HasImportance`) and how well it ranks (`KnowsSkill`), score
relaxed configs (`Differentiable`) with a smoothing that can be chosen (`Annealable`), read programs
of which only the trace is known (`ReadsTraces`), and that its scores are logarithms
(`Logarithmic`). How a model becomes a TVM object is `adapter`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mschedx.ranges import require_positive

from .training_rows import TrainingRows

if TYPE_CHECKING:
    import torch

    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

MOST_ANALYSED = 8
"""Sketches of a task up to which what needs their statements or quantities is done for all of them.

Both come with the analysis of a sketch, 0.2 to 1 s each. TVM's CPU spaces split into dozens, one
per combination of compute locations (softmax 45): there it would cost more than the trials it
saves.
"""


@dataclass(frozen=True)
class Measured:
    """Trials of one sketch.

    Parameters
    ----------
    sketch : Sketch
    configs : int64 array [n, D]
    latency_s : float64 array [n]
        Seconds, > 0; ``inf`` for a trial that failed to build or run.
    """

    sketch: Sketch
    configs: IntArray
    latency_s: FloatArray

    def __post_init__(self) -> None:
        if self.configs.ndim != 2 or self.latency_s.shape != self.configs.shape[:1]:
            raise ValueError(
                f"expected configs [n, D] and latency_s [n], got {self.configs.shape} "
                f"and {self.latency_s.shape}"
            )


def by_key(measured: Sequence[Measured]) -> list[Measured]:
    """Put the trials together of sketches with one key, in the order of the first of each.

    Such as those of one sketch with a decision fixed in two ways: a config is the same program.
    """
    parts: dict[str, list[Measured]] = {}
    for part in measured:
        parts.setdefault(part.sketch.key, []).append(part)
    return [
        Measured(
            some[0].sketch,
            np.concatenate([part.configs for part in some]),
            np.concatenate([part.latency_s for part in some]),
        )
        for some in parts.values()
    ]


def joined(older: Sequence[Measured], newer: Sequence[Measured]) -> list[Measured]:
    """Put older trials before newer ones, by key; of a config in both the newer trials alone.

    Newer sketches stand for older ones of their key, since what is known of these is at hand.
    """
    before = {part.sketch.key: part for part in by_key(older)}
    found = []
    for part in by_key(newer):
        old = before.pop(part.sketch.key, None)
        if old is not None:
            again = {config.tobytes() for config in part.configs}
            kept = np.array([c.tobytes() not in again for c in old.configs], dtype=bool)
            part = Measured(
                part.sketch,
                np.concatenate([old.configs[kept], part.configs]),
                np.concatenate([old.latency_s[kept], part.latency_s]),
            )
        found.append(part)
    return [*found, *(part for part in before.values() if len(part.configs))]


@runtime_checkable
class CostModel(Protocol):
    """A cost model as a search sees it.

    One model may serve many tasks in turn. Whether what it learns about one changes its scores of
    another is up to the model; scores of different tasks are never compared.
    """

    def ready(self, task: Task) -> bool:
        """Tell whether scores of ``task`` say anything; a search samples until they do.

        An analytical or pretrained model is ready before anything is measured.
        """
        ...

    def learn(self, task: Task, measured: Sequence[Measured]) -> None:
        """Take note of all trials of ``task`` so far, one entry per sketch, empty ones too.

        Called once per round, before scores are asked for, with every earlier trial again. A model
        that never learns ignores it.
        """
        ...

    def score(self, task: Task, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        """Predict configs [n_i, D_i] of sketches of one task, in one call for all of them.

        Returns float64 [Σ n_i] in the order asked: finite, higher is better, comparable across
        sketches. Not called before the model is ready.
        """
        ...

    def save(self, path: str) -> None:
        """Write what was learnt to a file that `load` reads, without pickle."""
        ...

    def load(self, path: str) -> None:
        """Read what `save` wrote; ``ValueError`` when the file is not one of these."""
        ...


@runtime_checkable
class HasImportance(Protocol):
    """A cost model that knows which decisions its scores depend on."""

    def importance(self, task: Task, sketch: Sketch) -> FloatArray | None:
        """How much each decision matters: float64 [D], >= 0; None when not known (yet)."""
        ...


PRETRAINED_ACCURACY = 0.65
"""Skill of a pretrained model of which no figure is known.

Better than none, or a search would never ask it before it has measured something; and less than a
model's that was tested.
"""


@runtime_checkable
class KnowsSkill(Protocol):
    """A cost model that knows how well it ranks before it has seen a task."""

    def skill(self) -> float | None:
        """Pairwise accuracy on tasks that it was not made from, in [0, 1].

        None for a model that is new; `PRETRAINED_ACCURACY` for one that is not, where no figure is
        known.
        """
        ...


@runtime_checkable
class Differentiable(Protocol):
    """A cost model whose scores have gradients."""

    def relaxed_score(self, task: Task, sketch: Sketch, configs: torch.Tensor) -> torch.Tensor:
        """Score relaxed configs, a floating-point tensor [n, D]: tensor [n], differentiable in it.

        At a whole config it is what `CostModel.score` says, up to rounding.
        """
        ...


@runtime_checkable
class Annealable(Differentiable, Protocol):
    """A differentiable model whose smoothing can be chosen: wide first, narrow at last."""

    def annealed_score(
        self, task: Task, sketch: Sketch, configs: torch.Tensor, width: float
    ) -> torch.Tensor:
        """As ``relaxed_score``, with smoothings of a width in (0, 1], 1 being the smoothest."""
        ...


@runtime_checkable
class ReadsTraces(Protocol):
    """A cost model that also learns from programs whose trace fits no sketch.

    TVM's strategies make some: compute locations are mutated to more places than there are
    sketches. ``rows`` hold the sampled decisions (`trace_features.from_candidates`).
    """

    def learn_traces(self, task: Task, rows: TrainingRows) -> None:
        """Take note of all such trials of ``task`` so far."""
        ...

    def score_traces(self, task: Task, rows: TrainingRows) -> FloatArray:
        """Score rows [n], as `CostModel.score` does and comparable to it: float64 [n]."""
        ...


@runtime_checkable
class Logarithmic(Protocol):
    """A cost model whose scores are logarithms of speed.

    Searches of ours do as well with these. TVM's evolution draws parents in proportion to what it
    is given, for which the adapter takes ``e^(score / logarithmic)`` (`adapter.as_weights`).

    Attributes
    ----------
    logarithmic : float
        What a score grows by where a program is e times as fast, > 0: 1 for ``ln(1 / seconds)``.
    """

    @property
    def logarithmic(self) -> float: ...


_METHODS = ("ready", "learn", "score", "save", "load")


def checked_model(model: Any) -> CostModel:
    """Return ``model``; ``TypeError`` when methods of a `CostModel` are missing.

    ``ValueError`` for one that is `Logarithmic` by no number above 0.
    """
    missing = [name for name in _METHODS if not callable(getattr(model, name, None))]
    if missing:
        raise TypeError(
            f"expected a cost model with the methods {', '.join(_METHODS)}, got "
            f"{type(model).__name__} without {', '.join(missing)}: see mschedx.cost.CostModel"
        )
    if hasattr(model, "logarithmic"):
        require_positive(model, "logarithmic")
    return model


def checked_scores(scores: Any, count: int, model: str) -> FloatArray:
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
