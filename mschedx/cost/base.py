"""What a search asks of a cost model, on arrays.

A search hands a model everything it has measured (`ArrayModel.learn`), asks for scores (`score`)
and may ask which decisions matter (`importance`). How such a model becomes a TVM object is
`adapter`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


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


@runtime_checkable
class ArrayModel(Protocol):
    """A cost model as a search sees it.

    ``task`` names a workload; what is learnt about one task never changes the scores of a task
    with other features.
    """

    def learn(self, task: str, measured: Sequence[Measured]) -> None:
        """Replace what is known of ``task`` by all its trials so far, one entry per sketch."""
        ...

    def score(self, task: str, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        """Predict configs [n_i, D_i] of sketches of one task, in one call for all of them.

        Returns float64 [Σ n_i] in the order asked: > 0, finite, higher is better, comparable
        across sketches.
        """
        ...

    def importance(self, task: str, sketch: Sketch) -> FloatArray | None:
        """How much each decision matters: float64 [D], >= 0; None when not known (yet)."""
        ...
