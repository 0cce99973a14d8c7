"""Why a space is empty: the fewest constraints that exclude everything, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..algebra.constraints import Constraint, Relation
from .join import Joiner, TooManyStates
from .partial_evaluation import Graph

IntArray = NDArray[np.int64]
Tables = Sequence[tuple[tuple[int, ...], IntArray]]


def explain(tables: Tables, constraints: Sequence[Constraint], n_columns: int) -> str:
    """Say which constraints leave no config; for spaces that are known to be empty.

    Parameters
    ----------
    tables : sequence of (columns, rows)
    constraints : sequence of Constraint
    n_columns : int
    """
    for columns, rows in tables:
        if not len(rows):
            return f"no row decides columns {columns}"
    owners = [0] * n_columns
    for number, (columns, _) in enumerate(tables):
        for column in columns:
            owners[column] = number
    culprits = _irreducible(tables, constraints, owners)
    lines = [f"  {c}\n    alone: {_reach(c, tables, owners)}" for c in culprits]
    if len(culprits) == 1:
        return "no config is valid: this constraint excludes every one\n" + lines[0]
    return (
        f"no config is valid: these {len(culprits)} constraints exclude every one together, "
        "and no fewer of them do\n" + "\n".join(lines)
    )


def _irreducible(
    tables: Tables, constraints: Sequence[Constraint], owners: list[int]
) -> list[Constraint]:
    """Leave out constraints as long as the rest still excludes everything."""
    kept = list(constraints)
    for constraint in constraints:
        rest = [other for other in kept if other is not constraint]
        if _empty(tables, rest, owners):
            kept = rest
    return kept


def _empty(tables: Tables, constraints: Sequence[Constraint], owners: list[int]) -> bool:
    graph = Graph(owners, constraints)
    try:
        relations, _ = Joiner(graph, range(len(constraints)), tables).run()
    except TooManyStates:
        return False
    return any(not len(relation) for relation in relations)


def _reach(constraint: Constraint, tables: Tables, owners: list[int]) -> str:
    """Say how near a constraint comes to holding over all rows of the tables."""
    graph = Graph(owners, [constraint])
    condition = graph.conditions[0]
    atoms = [graph.atoms(*table) for table in tables]
    ranges = graph.ranges(atoms, [np.ones(len(rows), dtype=bool) for _, rows in tables])
    low, high = (int(bound) for bound in graph.bounds(condition.left, {}, ranges))
    least, most = (int(bound) for bound in graph.bounds(condition.right, {}, ranges))
    left = f"the left side lies in {low} .. {high}"
    right = f"the right side is {least}" if least == most else f"the right in {least} .. {most}"
    if constraint.relation is Relation.AT_MOST and low > most:
        return f"{left}, {right}: over by at least {low - most}"
    if constraint.relation is Relation.AT_LEAST and high < least:
        return f"{left}, {right}: short by at least {least - high}"
    return f"{left}, {right}"
