"""Labelled rows of features: what a model is trained on, whatever the rows describe.

The sketches of one task share some features by name and not others. A table therefore names its
columns, and joining tables leaves NaN where a row lacks a feature; gradient-boosted trees treat
that as "not applicable".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingRows:
    """Features and latencies of trials.

    Parameters
    ----------
    names : tuple of str
        Names of the F columns, distinct.
    features : float64 array [n, F]
        NaN where a feature does not apply.
    latency_s : float64 array [n]
        Seconds, > 0; ``inf`` for a failed trial.
    """

    names: tuple[str, ...]
    features: FloatArray
    latency_s: FloatArray

    def __post_init__(self) -> None:
        if self.features.shape != (len(self.latency_s), len(self.names)):
            raise ValueError(
                f"expected features [{len(self.latency_s)}, {len(self.names)}], "
                f"got {self.features.shape}"
            )

    def __len__(self) -> int:
        return len(self.latency_s)

    def columns(self, names: Sequence[str]) -> FloatArray:
        """Return the features in this order, NaN for those the table lacks; [n, len(names)]."""
        return aligned(self.features, self.names, names)

    @staticmethod
    def join(tables: Sequence[TrainingRows]) -> TrainingRows:
        """Put tables under each other; columns are united by name, in order of first sight."""
        names = tuple(dict.fromkeys(name for table in tables for name in table.names))
        if not tables:
            return TrainingRows((), np.empty((0, 0)), np.empty(0))
        return TrainingRows(
            names,
            np.concatenate([table.columns(names) for table in tables]),
            np.concatenate([table.latency_s for table in tables]),
        )


def aligned(features: FloatArray, have: Sequence[str], want: Sequence[str]) -> FloatArray:
    """Reorder the columns ``have`` of features [n, F] to ``want``, NaN for those missing."""
    if tuple(have) == tuple(want):
        return features
    position = {name: i for i, name in enumerate(have)}
    result = np.full((len(features), len(want)), np.nan)
    for target, name in enumerate(want):
        if name in position:
            result[:, target] = features[:, position[name]]
    return result
