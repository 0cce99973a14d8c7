"""What one call of the tuner is asked for, and what it searches and measures with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.s_tir import Schedule, Trace
    from tvm.target import Target

    from mschedx.record.trials import Trial


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a call searches and measures with, as ``ms.tune_tir`` takes it; None for our own.

    Raises
    ------
    TypeError
        For a class in the place of an object.
    """

    space: Any = None
    strategy: Any = None
    cost_model: Any = None
    builder: Any = None
    runner: Any = None

    def __post_init__(self) -> None:
        for one in fields(Parts):
            part = getattr(self, one.name)
            if isinstance(part, type):
                raise TypeError(
                    f"expected {one.name} as an object or a name, got the class {part.__name__}: "
                    f"make one, {part.__name__}()"
                )

    def names(self) -> dict[str, str | None]:
        """What a journal says of each."""
        return {one.name: name_of(getattr(self, one.name)) for one in fields(Parts)}


def name_of(part: Any) -> str | None:
    """The class of a part; what is a name already, or None, as it is."""
    return part if part is None or isinstance(part, str) else type(part).__name__


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one call of the tuner is asked for.

    Attributes
    ----------
    mod : IRModule
        The function, as it is.
    target : Target
    trials : int
        That the work_dir is to hold in the end, those of earlier calls among them.
    trials_per_round : int | None
        At most; None for the strategy's own.
    seed : int
        As the caller gave it; that of a call which continues another is made of it.
    timeout_s : float | None
        Start no further round after this many seconds since `begin` (``time.perf_counter``).
    patience : int | None
        Start no further round once so many trials in a row have brought nothing faster.
    on_round : callable | None
        Called with the trials of each round once they are on the disk; true ends the run.
    start : tuple of Schedule or Trace
        What to measure first.
    parts : Parts
        As the caller gave them.
    """

    mod: IRModule
    target: Target
    trials: int
    trials_per_round: int | None
    seed: int
    timeout_s: float | None
    begin: float
    patience: int | None = None
    on_round: Callable[[tuple[Trial, ...]], Any] | None = None
    start: tuple[Schedule | Trace, ...] = ()
    parts: Parts = Parts()
