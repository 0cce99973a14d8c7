"""How long and how often a candidate runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mschedx.ranges import is_whole, require_count

_LEAST_MEMORY_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """Settings of one measurement; the defaults take 15-100 ms a candidate.

    A candidate is run once to warm up (page faults, caches, clock); then groups of calls that last
    at least `min_repeat_s` each are timed, and its latency is the median over the groups of the
    mean within a group. Three groups are enough where they agree; where they do not, there are up
    to `repeats`, but no more than fit into `budget_s`, and at least two (one if `repeats` is 1).
    Where two runs take more than a second each, the faster one is the latency.

    Attributes
    ----------
    repeats : int
        Largest number of timed groups, at least 1.
    agreement : float
        Relative difference between the slowest and the fastest of at least three groups at which no
        more are timed; 0: always time `repeats`.
    min_repeat_s : float
        Least duration of a group, seconds, so that the clock's resolution and the call's overhead
        (about a microsecond) do not matter.
    number : int, optional
        Calls in a group; found from the first run and `min_repeat_s` when None.
    budget_s : float
        Time that the groups may take together, seconds, as judged by the first run.
    slow_cutoff : float, optional
        A candidate whose first run (below 20 ms: also its second) takes more than this many times
        the best latency of its batch is not timed further: its latency is the faster of those
        runs. None: time all in full.
    flush_cache : bool
        Drop every argument but the first from the CPU's caches before every timed call (`number`
        is then 1), as TVM does: the first is taken to be what the preceding operator wrote. Has no
        effect on a GPU.
    """

    repeats: int = 5
    agreement: float = 0.02
    min_repeat_s: float = 0.005
    number: int | None = None
    budget_s: float = 0.08
    slow_cutoff: float | None = 3.0
    flush_cache: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that cannot be carried out."""
        for name in ("repeats", "number"):
            value = getattr(self, name)
            if name == "repeats" or value is not None:
                object.__setattr__(self, name, require_count(name, value))
        for name in ("min_repeat_s", "budget_s", "agreement"):
            value = getattr(self, name)
            if not is_finite(value) or value < 0:
                raise ValueError(f"{name} must be a number and not negative, got {value!r}")
        cutoff = self.slow_cutoff
        if cutoff is not None and not (is_finite(cutoff) and cutoff > 1):
            raise ValueError(
                f"slow_cutoff is a multiple of the best latency: above 1 or None, got {cutoff!r}"
            )


def require_timeout(value: float) -> None:
    """Refuse a limit that never, or always, is exceeded."""
    if not is_finite(value) or value <= 0:
        raise ValueError(f"timeout_s must be a number of seconds above 0, got {value!r}")


def require_memory(value: int | None) -> None:
    """Refuse a limit in which no worker fits: TVM alone takes a quarter of a GiB."""
    if value is None:
        return
    if not is_whole(value) or value < _LEAST_MEMORY_BYTES:
        raise ValueError(
            f"memory_bytes must be an integer of at least {_LEAST_MEMORY_BYTES} (256 MiB) or None, "
            f"got {value!r}"
        )


def is_finite(value: object) -> bool:
    """Whether a value is a number, and neither infinite nor NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)
