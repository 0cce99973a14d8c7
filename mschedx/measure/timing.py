"""Run one built candidate on random inputs and time it. Used inside a runner's worker."""

from __future__ import annotations

import math
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .config import MeasureConfig

# A first run above this is itself a measurement; below, page faults and cold caches dominate it.
_FIRST_RUN_COUNTS_S = 0.02
# Two runs above this are enough: more would not fit into a candidate's time limit.
_TWO_RUNS_COUNT_S = 1.0
_ENOUGH_GROUPS = 3
_KEPT_ARGUMENT_SETS = 4
_MOST_SINGLE_CALLS = 100
_NUMPY_DTYPES = frozenset(
    [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
    + ["float16", "float32", "float64"]
)

SMALL_FLOATS = ("bfloat16", "float8")
"""How the names of floats begin that NumPy has by ml_dtypes alone."""

ArgsInfo = tuple[tuple[str, str, tuple[int, ...]], ...]

Bounds = tuple[int | None, int | None]
"""The least and the greatest value of an integer argument; None where it is not bounded."""

OPEN: Bounds = (None, None)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What was seen of one candidate.

    Attributes
    ----------
    latency_s : float
        Median over the groups; the fastest of the first runs where `cut`, or where each takes more
        than a second.
    repeats_s : tuple of float
        The mean of each timed group, seconds, or the runs that `latency_s` is the fastest of.
    cut : bool
        Whether it was clearly slow and not timed in full.
    """

    latency_s: float
    repeats_s: tuple[float, ...]
    cut: bool


def time_candidate(
    function: Any,
    evaluator: Any,
    device: Any,
    args: list[Any],
    config: MeasureConfig,
    best_s: float | None,
) -> Timing:
    """Warm up, decide whether it is worth timing, and time.

    Parameters
    ----------
    function : callable
        Runs the candidate once on `args`.
    evaluator : callable
        ``evaluator(number, repeat)`` returns a function of `args` whose ``results`` are the mean
        seconds of each of `repeat` groups of `number` calls, after one call that does not count.
    device : tvm.runtime.Device
        Where it runs; synchronised around the first runs.
    args : list of tvm.runtime.Tensor
    config : MeasureConfig
    best_s : float, optional
        Best latency of the same batch so far; infinite to time in full. While there is none,
        candidates whose first run takes more than 20 ms are cut for now.
    """
    first = _once(function, device, args)
    if _slow(first, config, best_s):
        if first < _FIRST_RUN_COUNTS_S:
            first = min(first, _once(function, device, args))
        if _slow(first, config, best_s):
            return Timing(latency_s=first, repeats_s=(first,), cut=True)
    if first >= _TWO_RUNS_COUNT_S and config.number is None:
        runs = (first, _once(function, device, args))
        if min(runs) >= _TWO_RUNS_COUNT_S:
            return Timing(latency_s=min(runs), repeats_s=runs, cut=False)
        first = min(runs)
    groups = _groups(evaluator, args, config, first)
    return Timing(latency_s=statistics.median(groups), repeats_s=tuple(groups), cut=False)


def time_single_calls(
    function: Any, device: Any, args: list[Any], config: MeasureConfig, before: Callable[[], Any]
) -> Timing:
    """Time calls one by one from Python, which adds a microsecond to each.

    Parameters
    ----------
    function, device, args, config
        As `time_candidate` takes them.
    before : callable
        Called before every call, out of its time.
    """
    runs: list[float] = []
    end = time.perf_counter() + config.budget_s
    while len(runs) <= config.repeats or (
        len(runs) <= _MOST_SINGLE_CALLS and time.perf_counter() < end
    ):
        before()
        runs.append(_once(function, device, args))
    timed = tuple(runs[1:])  # the first warms up
    return Timing(latency_s=statistics.median(timed), repeats_s=timed, cut=False)


def _slow(run_s: float, config: MeasureConfig, best_s: float | None) -> bool:
    if config.slow_cutoff is None:
        return False
    if best_s is None:
        return run_s >= _FIRST_RUN_COUNTS_S
    return run_s > config.slow_cutoff * best_s


def _groups(evaluator: Any, args: list[Any], config: MeasureConfig, first: float) -> list[float]:
    """Mean seconds of each timed group; `first` is what one call took from Python."""
    fixed = config.flush_cache or config.number is not None
    number = 1 if config.flush_cache else config.number or _calls(config, first)
    end = time.perf_counter() + config.budget_s
    groups: list[float] = []
    while len(groups) < config.repeats:
        repeat = _next_groups(config, len(groups), number, first)
        seen = list(evaluator(number, repeat)(*args).results)
        if not fixed and number * seen[0] < config.min_repeat_s / 2:
            # A kernel so short that `first` was the price of calling it from Python.
            number = _calls(config, max(seen[0], first / 1000))
            fixed = True
            continue
        groups += seen
        if _agree(groups, config) or (len(groups) >= 2 and time.perf_counter() > end):
            break
    return groups


def _next_groups(config: MeasureConfig, had: int, number: int, first: float) -> int:
    """How many groups to time before looking at them: every such call warms up once more."""
    left = config.repeats - had
    fitting = max(2, int(config.budget_s / (number * first)))
    if had < _ENOUGH_GROUPS:
        return min(left, _ENOUGH_GROUPS - had, fitting)
    return 1 if number >= 4 else min(left, fitting)


def _agree(groups: list[float], config: MeasureConfig) -> bool:
    if len(groups) < _ENOUGH_GROUPS:
        return False
    return max(groups) - min(groups) < config.agreement * min(groups)


def _calls(config: MeasureConfig, call_s: float) -> int:
    return max(1, math.ceil(config.min_repeat_s / call_s))


def _once(function: Any, device: Any, args: list[Any]) -> float:
    device.sync()
    start = time.perf_counter()
    function(*args)
    device.sync()
    return max(time.perf_counter() - start, 1e-7)


class Arguments:
    """Random arguments, kept from one candidate to the next of the same workload.

    Floats are uniform in [-1, 1): no infinities, no NaN and hardly a denormal, which would change
    the speed of some kernels. Integers are drawn from what the program can be given, where that is
    known (`argument_bounds`). Otherwise those of 8 and 16 bits take their whole range; those of 32
    and 64 bits may be indices, so they are smaller than the smallest extent of any argument above
    1, and at least 0. Those that a program updates are put back whenever they are asked for.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], _Kept] = OrderedDict()

    def get(
        self,
        info: ArgsInfo,
        device: Any,
        bounds: tuple[Bounds, ...] = (),
        updated: tuple[int, ...] = (),
    ) -> list[Any]:
        """Tensors on `device` as `info` says: ``("TENSOR", dtype, shape)`` for each argument.

        Without `bounds` none is known of any argument; `updated` are the positions of those to put
        back.
        """
        import tvm

        bounds = bounds or (OPEN,) * len(info)
        key = (info, device.dlpack_device_type(), device.index, bounds, updated)
        if key not in self._kept:
            while len(self._kept) >= _KEPT_ARGUMENT_SETS:
                self._kept.popitem(last=False)
            rng = np.random.default_rng(0)
            bound = min((e for _, _, shape in info for e in shape if e > 1), default=1)
            tensors, given = [], {}
            for place, ((_, dtype, shape), own) in enumerate(zip(info, bounds, strict=True)):
                array = random_array(dtype, shape, rng, bound, bounds=own)
                tensors.append(tvm.runtime.tensor(array, device))
                if place in updated:
                    given[place] = array
            self._kept[key] = _Kept(tensors, given)
        self._kept.move_to_end(key)
        kept = self._kept[key]
        for place, array in kept.given.items():
            kept.tensors[place].copyfrom(array)
        return kept.tensors


@dataclass(frozen=True)
class _Kept:
    """Arguments, and by their positions those to put back, as they were given."""

    tensors: list[Any]
    given: dict[int, np.ndarray]


def random_array(
    dtype: str,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    bound: int,
    *,
    low: float = -1.0,
    bounds: Bounds = OPEN,
) -> np.ndarray:
    """Random array of TVM's `dtype`, floats from [`low`, 1); see :class:`Arguments`.

    Raises
    ------
    TypeError
        If NumPy (with ml_dtypes) has no such `dtype`.
    """
    kind = numpy_dtype(dtype)
    if kind == np.bool_:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        small = kind.itemsize <= 2
        least, most = (limits.min, limits.max) if small else (0, max(1, bound) - 1)
        least = least if bounds[0] is None else bounds[0]
        most = max(least, most if bounds[1] is None else bounds[1])
        return rng.integers(least, most, shape, dtype=kind, endpoint=True)
    return (rng.random(shape, dtype=np.float32) * (1 - low) + low).astype(kind)


def numpy_dtype(dtype: str) -> np.dtype:
    """NumPy's name for TVM's `dtype`, ml_dtypes' for the small floats.

    Raises
    ------
    TypeError
        If there is none (sub-byte and vector types).
    """
    if dtype == "bool":
        return np.dtype(np.bool_)
    if dtype.startswith(SMALL_FLOATS):
        import ml_dtypes

        small = getattr(ml_dtypes, dtype, None)
        if small is not None:
            return np.dtype(small)
    elif dtype in _NUMPY_DTYPES:
        return np.dtype(dtype)
    raise TypeError(
        f"cannot fill an argument of dtype {dtype!r}: expected a float, an integer of at least "
        "8 bits, or bool"
    )


def unfillable(func: Any) -> str:
    """Say which parameter of a PrimFunc no array can be made for; empty where all have one."""
    for param in func.params:
        try:
            numpy_dtype(str(param.dtype))
        except TypeError:
            return (
                f'parameter "{param.name}" is of {param.dtype}, of which no trial can be given an '
                "array"
            )
    return ""
