"""What an analyzer says of a program: seconds, statement by statement, and what they go into."""

from __future__ import annotations

from dataclasses import dataclass

from .view import FloatArray


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
    """

    name: str
    kernel: int | None
    seconds: FloatArray
    terms: dict[str, FloatArray]


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
