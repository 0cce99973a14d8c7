"""What an analyzer says of a program: seconds, statement by statement, and what they go into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .view import FloatArray

OCCUPANCY = "occupancy"
"""The cause where more than half of the time is for want of thread blocks and warps."""


@dataclass(frozen=True)
class StatementCost:
    """What one statement costs at n configs.

    Parameters
    ----------
    name : str
    kernel : int or None
    seconds : float64 array [n]
    terms : dict of str to float64 array [n]
        Seconds that each cause alone would take, such as "arithmetic", "L2", "DRAM".
    idle : callable, optional
        Gives the share of the seconds, but for those of the term "waiting", that more thread blocks
        and warps would save: float64 array [n]. None where there are no such things.
    """

    name: str
    kernel: int | None
    seconds: FloatArray
    terms: dict[str, FloatArray]
    idle: Callable[[], FloatArray] | None = None

    def cause(self, position: int) -> str:
        """What it mostly waits for at one config: `OCCUPANCY` if for threads, else a term."""
        if self.idle is not None:
            work = self.seconds[position] - self.terms["waiting"][position]
            if self.idle()[position] * work > self.seconds[position] / 2:
                return OCCUPANCY
        return max(self.terms, key=lambda name: float(self.terms[name][position]))


@dataclass(frozen=True)
class Costs:
    """What a program costs at n configs.

    Parameters
    ----------
    statements : tuple of StatementCost
    fixed : float64 array [n]
        Seconds of starting threads or kernels.
    """

    statements: tuple[StatementCost, ...]
    fixed: FloatArray

    @property
    def latency_s(self) -> FloatArray:
        """Seconds of the whole program, [n]."""
        return sum((s.seconds for s in self.statements), self.fixed)
