"""Time several ways to compute the same thing, in turn, so that what disturbs one disturbs all.

Every contender uses all cores that the process may use: TVM kernels through
:func:`mschedx.compat.on_cores`, NumPy's BLAS and torch by their own pools, which idle while
another runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mschedx import compat

Call = Callable[[], Any]
_SETTLE_S = 0.25
"""Pause before each turn, for the thread pool of the contender before to stop spinning.

TVM's and OpenBLAS's workers spin for up to 0.2 s after their last task. Measured on 2 cores and a
1024³ GEMM: with a pause of 0.02 s NumPy reads 67 GFLOP/s after TVM kernels, with 0.2 s 204.
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: the median and the least of the rounds."""

    median_s: float
    min_s: float


def time_in_turn(
    contenders: Mapping[str, Call], *, rounds: int = 7, group_s: float = 0.03
) -> dict[str, Timing]:
    """Time each contender `rounds` times, taking turns.

    Parameters
    ----------
    contenders : Mapping[str, Call]
        Functions without arguments.
    rounds : int
        Timed groups of each; a contender slower than 0.5 s a call gets its warm-up call only.
    group_s : float
        Least duration of a group, seconds.
    """
    numbers: dict[str, int] = {}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for name, call in contenders.items():
        first = _timed(call, 1)
        if first > 0.5:
            seconds[name].append(first)
            continue
        again = _timed(call, 1)
        numbers[name] = max(1, round(group_s / max(again, 1e-7)))
    for _ in range(rounds):
        for name, number in numbers.items():
            time.sleep(_SETTLE_S)
            _timed(contenders[name], 1)
            seconds[name].append(_timed(contenders[name], number))
    return {name: Timing(statistics.median(s), min(s)) for name, s in seconds.items()}


def _timed(call: Call, number: int) -> float:
    begin = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - begin) / number


def time_all(
    kernels: Mapping[str, Any], arrays: list[np.ndarray], others: Mapping[str, Call], **options: Any
) -> dict[str, Timing]:
    """Time compiled TVM functions on `arrays` (outputs included) and other calls together.

    Parameters
    ----------
    kernels : Mapping[str, Any]
        Compiled functions that take the arrays as tensors.
    others : Mapping[str, Call]
        NumPy's and torch's forms.
    options
        Passed to :func:`time_in_turn`.
    """
    import tvm

    def run() -> dict[str, Timing]:
        tensors = [tvm.runtime.tensor(a) for a in arrays]
        calls: dict[str, Call] = {
            name: (lambda kernel=kernel: kernel(*tensors)) for name, kernel in kernels.items()
        }
        return time_in_turn({**calls, **others}, **options)

    return compat.on_cores(None, run)
