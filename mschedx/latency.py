"""What a list of run times says: one latency, or that the trial failed.

TVM's records and results carry the seconds of several repeats; a failed trial is stored as one run
of `FAILED_S`, since records have no other place for it. Whoever reads one of these lists reads it
here, so that tuning, records, reports and cost models agree on what is fast and what has failed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import Any

FAILED_S = 1e10
"""Seconds that TVM stores for a failed trial (``AddToDatabase``)."""

_NO_KERNEL_TAKES_S = 1e9


def latency_of(run_secs: Iterable[Any] | None) -> float:
    """Median of repeats.

    Parameters
    ----------
    run_secs : iterable of numbers, optional
        Seconds, as a record or a runner's result lists them.

    Returns
    -------
    float
        Seconds, > 0 and finite; ``inf`` where nothing ran: no repeats, TVM's mark of a failed
        trial, and what no clock shows (zero, negative, NaN).
    """
    seconds = [float(second) for second in run_secs or ()]
    if not seconds or not all(map(math.isfinite, seconds)):
        return math.inf
    median = statistics.median(seconds)
    return median if 0 < median < _NO_KERNEL_TAKES_S else math.inf


def latency_s(result: Any) -> float:
    """`latency_of` an ``ms.RunnerResult``; ``inf`` when it carries an error."""
    return math.inf if result.error_msg is not None else latency_of(result.run_secs)


def seconds_to_record(result: Any) -> Any:
    """Run times of an ``ms.RunnerResult`` as a record keeps them, those of a failed trial too."""
    return result.run_secs if result.error_msg is None else [FAILED_S]
