"""Replays of one structure with the expressions of their numbers: what all that follows asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...algebra.expression import Expression
from ..read.program import Program
from .integers import Solver
from .symbolic import SymbolicProgram


@dataclass(frozen=True)
class Replays:
    """Programs that differ in their integers alone, and what expressions say of these.

    Parameters
    ----------
    programs : tuple of Program
        One for each of P configs.
    found : SymbolicProgram
        The expressions of their loops, buffers and accesses.
    solver : Solver
        Made on the configs; finds the expression of any other number that programs have.
    """

    programs: tuple[Program, ...]
    found: SymbolicProgram
    solver: Solver

    @property
    def template(self) -> Program:
        """The program whose loops, blocks and buffers have the indices that are used throughout."""
        return self.found.template

    def solve(self, values: Sequence[int]) -> Expression | None:
        """Find the expression of a number that the programs have [P]; None when there is none."""
        return self.solver.solve(np.array(values, dtype=np.int64))

    def annotation(self, block: int, key: str) -> Expression | None:
        """Find the expression of a block's integer annotation; None when it has none."""
        values = [dict(program.blocks[block].annotations).get(key) for program in self.programs]
        numbers = [value for value in values if isinstance(value, int)]
        return self.solve(numbers) if len(numbers) == len(values) else None
