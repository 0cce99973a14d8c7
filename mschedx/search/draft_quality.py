"""How far a draft can be trusted, by what has been measured: how many drafts to keep, or none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mschedx.cost.learned.metrics import rank_correlation

from .points import FloatArray


@dataclass(frozen=True)
class DraftQuality:
    """A draft's scores against latencies.

    Parameters
    ----------
    trials : int
        That ran.
    correlation : float
        Spearman's, of draft scores with speed; nan when either does not vary.
    needed : float
        Share of the trials, best by draft first, that must be kept to hold nine tenths of the
        fastest quarter: ¼ of a perfect draft, about 0.9 of one that knows nothing. 1 when nothing
        ran.
    """

    trials: int
    correlation: float
    needed: float

    @classmethod
    def of(cls, latency_s: FloatArray, scores: FloatArray) -> DraftQuality:
        """Compare latencies [n] (seconds, ``inf`` = failed) with scores [n]."""
        ran = np.isfinite(latency_s)
        latency_s, scores = latency_s[ran], scores[ran]
        if not len(scores):
            return cls(0, math.nan, 1.0)
        order = np.argsort(-scores, kind="stable")
        fastest = math.ceil(len(scores) / 4)
        wanted = math.ceil(0.9 * fastest)
        good = np.zeros(len(scores), dtype=bool)
        good[np.argsort(latency_s, kind="stable")[:fastest]] = True
        last = int(np.searchsorted(np.cumsum(good[order]), wanted)) + 1
        return cls(len(scores), rank_correlation(latency_s, scores), last / len(scores))

    def __str__(self) -> str:
        return (
            f"over {self.trials} trials the draft ranks with correlation {self.correlation:.2f}, "
            f"and {self.needed:.0%} of them hold its fastest quarter"
        )

    def quota(self, drafts: int, most: int, least_trials: int, least_correlation: float) -> int:
        """How many drafts to keep.

        ``drafts`` while there is too little to judge by, or half of the trials would have done;
        more in proportion where that is not so, up to ``most``; none when the draft ranks worse
        than ``least_correlation``.
        """
        if self.trials < least_trials or math.isnan(self.correlation):
            return min(drafts, most)
        if self.correlation < least_correlation:
            return 0
        return min(round(drafts * max(1.0, 2 * self.needed)), most)
