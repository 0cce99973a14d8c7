"""Time a function whose arguments have left the cores' own caches since they were last used.

A function that is called again and again on the same arguments finds them in the level of cache
that holds them. Within a network, all that the other operators read and write passes through the
caches between two calls of one. Here as many bytes pass through: the arguments are copied, and
every call gets the copy that was used longest ago. An activation, which the operator before has
just written, comes from nearer than a weight, which was last read in the run before: each argument
may have a distance of its own.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from .config import is_finite

_MOST_COPIES = 4096
"""Of small arguments, each copy of which is a tensor to make; by hand."""

_WARM = 4
"""Calls by which it is guessed how many fill a group; by hand."""


def time_rotated(
    function: Callable[..., Any],
    device: Any,
    args: Sequence[Any],
    rotate_bytes: int | Sequence[int],
    *,
    repeats: int = 3,
    min_repeat_s: float = 0.005,
) -> float:
    """Median seconds of a call, over groups of calls that go on from copy to copy.

    Parameters
    ----------
    function : callable
        Runs once on arguments like `args`; what it computes does not matter.
    device : tvm.runtime.Device
        Where it runs; synchronised around every group.
    args : sequence
        Tensors are copied, anything else is passed as it is.
    rotate_bytes : int or sequence of int
        At least so many bytes are used before a copy is used again, of all arguments or of each
        (those of one distance count together). There are two copies at least, 4096 at most, and a
        power of two of them. Choose more than the cache which an argument shall not be found in.
    repeats : int
        Groups, of which the median is taken.
    min_repeat_s : float
        Least duration of a group, seconds.

    Raises
    ------
    ValueError
        For bytes or a duration that are negative, distances that are not one for each argument, no
        repeats, or arguments without a tensor.
    """
    apart = [rotate_bytes] * len(args) if isinstance(rotate_bytes, int) else list(rotate_bytes)
    if any(one < 0 for one in apart) or repeats < 1 or not _is_duration(min_repeat_s):
        raise ValueError(
            "expected rotate_bytes and min_repeat_s not negative and repeats of at least 1, got "
            f"{rotate_bytes!r}, {min_repeat_s!r} and {repeats!r}"
        )
    if len(apart) != len(args):
        raise ValueError(
            f"expected rotate_bytes of each argument, got {len(apart)} for {len(args)} arguments"
        )
    # Endless: what was used longest ago comes next, in whatever group.
    calls = itertools.cycle(_calls(device, args, apart))
    first = _group(function, device, list(itertools.islice(calls, 1)))  # code, threads
    first = min(first, _group(function, device, list(itertools.islice(calls, _WARM))))
    count = max(1, math.ceil(min_repeat_s / max(first, 1e-7)))
    groups = [list(itertools.islice(calls, count)) for _ in range(repeats)]
    return statistics.median(_group(function, device, group) for group in groups)


def _is_duration(value: float) -> bool:
    return is_finite(value) and value >= 0


def _calls(device: Any, args: Sequence[Any], apart: list[int]) -> list[list[Any]]:
    """The arguments of as many calls as the most copies there are of one of them."""
    from tvm.runtime import Tensor

    sizes = [_bytes(one) if isinstance(one, Tensor) else 0 for one in args]
    if not any(sizes):
        raise ValueError("expected at least one tensor with elements among the arguments, got none")
    together = {distance: 0 for distance in apart}
    for distance, size in zip(apart, sizes):
        together[distance] += size
    # Powers of two, so that all begin anew with the one that has the most.
    copies = {
        distance: min(_MOST_COPIES, max(2, 1 << (math.ceil(distance / size) - 1).bit_length()))
        for distance, size in together.items()
        if size
    }
    columns = [
        [one.copyto(device) for _ in range(copies[distance])] if size else [one]
        for one, distance, size in zip(args, apart, sizes)
    ]
    return [[column[i % len(column)] for column in columns] for i in range(max(map(len, columns)))]


def _bytes(tensor: Any) -> int:
    return math.prod(tensor.shape) * -(-tensor.dtype.bits * tensor.dtype.lanes // 8)


def _group(function: Callable[..., Any], device: Any, calls: list[list[Any]]) -> float:
    """Mean seconds of a call."""
    device.sync()
    begin = time.perf_counter()
    for args in calls:
        function(*args)
    device.sync()
    return (time.perf_counter() - begin) / len(calls)
