"""Time a function whose arguments have left the cores' own caches since they were last used.

A function that is called again and again on the same arguments finds them in the level of cache
that holds them. Within a network, all that the other operators read and write passes through the
caches between two calls of one. Here as many bytes pass through: the arguments are copied, and
every call gets the copy that was used longest ago.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from .config import is_finite

_MOST_COPIES = 4096
"""Of small arguments, each copy of which is a tensor to make; by hand."""


def time_rotated(
    function: Callable[..., Any],
    device: Any,
    args: Sequence[Any],
    rotate_bytes: int,
    *,
    repeats: int = 3,
    min_repeat_s: float = 0.005,
) -> float:
    """Median seconds of a call, over groups that go once or more through all copies.

    Parameters
    ----------
    function : callable
        Runs once on arguments like `args`; what it computes does not matter.
    device : tvm.runtime.Device
        Where it runs; synchronised around every group.
    args : sequence
        Tensors are copied, anything else is passed as it is.
    rotate_bytes : int
        At least so many bytes of arguments are used in turn, two copies at least (at most 4096).
        Choose more than the cache which the arguments shall not be found in.
    repeats : int
        Groups, of which the median is taken.
    min_repeat_s : float
        Least duration of a group, seconds.

    Raises
    ------
    ValueError
        For bytes or a duration that are negative, no repeats, or arguments without a tensor.
    """
    from tvm.runtime import Tensor

    if rotate_bytes < 0 or repeats < 1 or not (is_finite(min_repeat_s) and min_repeat_s >= 0):
        raise ValueError(
            "expected rotate_bytes and min_repeat_s not negative and repeats of at least 1, got "
            f"{rotate_bytes!r}, {min_repeat_s!r} and {repeats!r}"
        )
    own = sum(_bytes(one) for one in args if isinstance(one, Tensor))
    if not own:
        raise ValueError("expected at least one tensor with elements among the arguments, got none")
    count = min(_MOST_COPIES, max(2, math.ceil(rotate_bytes / own)))
    copies = [
        [one.copyto(device) if isinstance(one, Tensor) else one for one in args]
        for _ in range(count)
    ]
    first = _group(function, device, copies, 1)  # page faults, code, threads
    first = min(first, _group(function, device, copies, 1))
    rounds = max(1, math.ceil(min_repeat_s / max(first * count, 1e-9)))
    return statistics.median(_group(function, device, copies, rounds) for _ in range(repeats))


def _bytes(tensor: Any) -> int:
    return math.prod(tensor.shape) * -(-tensor.dtype.bits * tensor.dtype.lanes // 8)


def _group(
    function: Callable[..., Any], device: Any, copies: list[list[Any]], rounds: int
) -> float:
    """Mean seconds of a call, over all copies so many times."""
    device.sync()
    begin = time.perf_counter()
    for _ in range(rounds):
        for args in copies:
            function(*args)
    device.sync()
    return (time.perf_counter() - begin) / (rounds * len(copies))
