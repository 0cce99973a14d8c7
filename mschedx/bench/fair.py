"""Time several ways to compute the same thing, in turn, so that what disturbs one disturbs all.

Every contender uses all cores that the process may use. TVM kernels run in a thread of their own,
because TVM's pools belong to threads and must be sized before their first kernel; NumPy runs in the
calling thread, and torch in a process of its own (:mod:`mschedx.bench.torch_process`).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from mschedx import compat

Call = Callable[[], Any]
Timer = Callable[[int], float]
_SLOW_S = 0.5
_SET_UP_S = 5.0
"""Longer than what a first call has to set up takes."""


@dataclass(frozen=True, slots=True)
class TurnTiming:
    """Seconds of one call: the median and the least of the rounds."""

    median_s: float
    min_s: float


def time_in_turn(
    timers: Mapping[str, Timer], *, rounds: int = 7, group_s: float = 0.03
) -> dict[str, TurnTiming]:
    """Time each contender `rounds` times, taking turns.

    Parameters
    ----------
    timers : Mapping[str, Callable[[int], float]]
        Each makes so many calls and gives the mean seconds of one, or inf where it has come to
        an end. One that gives nothing else is left out.
    rounds : int
        Timed groups of each; a contender slower than 0.5 s a call gets two calls only, and
        one call where the first takes over 5 s.
    group_s : float
        Least duration of a group, seconds.
    """
    numbers: dict[str, int] = {}
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    for name, timer in timers.items():
        first = timer(1)
        if _SLOW_S < first < _SET_UP_S:
            first = min(first, timer(1))  # the first call may have had something to set up
        if first > _SLOW_S:
            seconds[name].append(first)
            continue
        numbers[name] = max(1, round(group_s / max(timer(1), 1e-7)))
    for _ in range(rounds):
        for name, number in numbers.items():
            time.sleep(compat.SETTLE_S)
            timers[name](1)
            seconds[name].append(timers[name](number))
    known = {name: [s for s in found if math.isfinite(s)] for name, found in seconds.items()}
    return {name: TurnTiming(statistics.median(s), min(s)) for name, s in known.items() if s}


def timed(call: Call, number: int) -> float:
    """Mean seconds of `number` calls, made in this thread."""
    begin = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - begin) / number


def time_all(
    kernels: Mapping[str, Call], others: Mapping[str, Timer], **options: Any
) -> dict[str, TurnTiming]:
    """Time TVM kernels and others together.

    Parameters
    ----------
    kernels : Mapping[str, Call]
        Compiled TVM functions with their tensors, see :func:`bound`.
    others : Mapping[str, Callable[[int], float]]
        Timers of NumPy's and torch's forms, such as ``partial(timed, call)``.
    options
        Passed to :func:`time_in_turn`.
    """
    cores = compat.available_cores()
    with ThreadPoolExecutor(1, "mschedx-kernels", compat.use_cores, (cores,)) as thread:

        def in_thread(call: Call) -> Timer:
            return lambda number: thread.submit(timed, call, number).result()

        in_turn = {name: in_thread(call) for name, call in kernels.items()}
        return time_in_turn({**in_turn, **others}, **options)


def bound(function: Any, arrays: Sequence[np.ndarray]) -> Call:
    """Bind a compiled TVM function to tensors of `arrays` (outputs included)."""
    import tvm

    tensors = [tvm.runtime.tensor(array) for array in arrays]
    return lambda: function(*tensors)
