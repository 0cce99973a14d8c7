"""How long and how often a candidate runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """Settings of one measurement; the defaults take 15-100 ms a candidate.

    A candidate is run once to warm up (page faults, caches, clock); then groups of calls that last
    at least `min_repeat_s` each are timed, and its latency is the median over the groups of the
    mean within a group. Three groups are enough where they agree; where they do not, there are up
    to `repeats`, but no more than fit into `budget_s`, and at least two (one if `repeats` is 1).

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
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {self.repeats}")
        if self.number is not None and self.number < 1:
            raise ValueError(f"number must be at least 1 or None, got {self.number}")
        if self.min_repeat_s < 0 or self.budget_s < 0:
            raise ValueError(
                "min_repeat_s and budget_s must not be negative, got "
                f"{self.min_repeat_s} and {self.budget_s}"
            )
        if self.agreement < 0:
            raise ValueError(f"agreement must not be negative, got {self.agreement}")
        if self.slow_cutoff is not None and self.slow_cutoff <= 1:
            raise ValueError(
                f"slow_cutoff is a multiple of the best latency: above 1 or None, "
                f"got {self.slow_cutoff}"
            )
