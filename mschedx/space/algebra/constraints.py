"""Constraints: what may not happen, as relations between expressions.

A constraint carries where it comes from, so that ``str(constraint)`` explains itself::

    m.2·n.2 + n.2 + 1 <= 32    [accumulators fit the vector registers of znver4]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .expression import Expression, IntArray, constant


class Relation(StrEnum):
    """How the two sides of a constraint stand to each other."""

    AT_MOST = "<="
    AT_LEAST = ">="
    EQUAL = "=="
    MULTIPLE = "%"
    """The left side is a multiple of the right one."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """``left relation right`` must hold for every valid config.

    Parameters
    ----------
    left, right : Expression
        Exact integer functions of the decisions.
    relation : Relation
    origin : str
        Where the rule comes from, for readers: the verifier, intrinsic or rule that posted it.
    names : sequence of str
        Names of the columns, for printing only.
    """

    left: Expression
    relation: Relation
    right: Expression
    origin: str
    names: Sequence[str] | None = field(default=None, compare=False, repr=False)

    def holds(self, configs: IntArray) -> NDArray[np.bool_]:
        """Tell which of the configs [n, D] satisfy the constraint; bool [n]."""
        left, right = self.left(configs), self.right(configs)
        if self.relation is Relation.AT_MOST:
            return left <= right
        if self.relation is Relation.AT_LEAST:
            return left >= right
        if self.relation is Relation.EQUAL:
            return left == right
        return left % right == 0

    @property
    def is_impossible(self) -> bool:
        """Whether it hangs on no decision, and does not hold."""
        return not self.columns and not self.holds(np.zeros((1, 0), dtype=np.int64))[0]

    @property
    def columns(self) -> frozenset[int]:
        """The decisions the constraint couples."""
        return self.left.columns | self.right.columns

    def __str__(self) -> str:
        left, right = self.left.format(self.names), self.right.format(self.names)
        if self.relation is Relation.MULTIPLE:
            return f"{left} % {right} == 0    [{self.origin}]"
        return f"{left} {self.relation.value} {right}    [{self.origin}]"


def _make(left: Expression, relation: Relation, right: Expression | int, origin: str) -> Constraint:
    right = right if isinstance(right, Expression) else constant(right)
    return Constraint(left, relation, right, origin)


def at_most(left: Expression, right: Expression | int, origin: str) -> Constraint:
    """``left <= right``."""
    return _make(left, Relation.AT_MOST, right, origin)


def at_least(left: Expression, right: Expression | int, origin: str) -> Constraint:
    """``left >= right``."""
    return _make(left, Relation.AT_LEAST, right, origin)


def equal(left: Expression, right: Expression | int, origin: str) -> Constraint:
    """``left == right``."""
    return _make(left, Relation.EQUAL, right, origin)


def multiple_of(left: Expression, right: Expression | int, origin: str) -> Constraint:
    """``left % right == 0``; the right side must be positive."""
    return _make(left, Relation.MULTIPLE, right, origin)
