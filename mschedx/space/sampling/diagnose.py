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
    culprits, all_needed = _irreducible(tables, _excluding(tables, constraints, owners), owners)
    lines = [f"  {c}\n    alone: {_reach(c, tables, owners)}" for c in culprits]
    if len(culprits) == 1:
        return "no config is valid: this constraint excludes every one\n" + lines[0]
    fewer = (
        "no fewer of them do"
        if all_needed
        else "whether fewer of them do cannot be told: there are too many combinations to try"
    )
    return (
        f"no config is valid: these {len(culprits)} constraints exclude every one together, "
        f"and {fewer}\n" + "\n".join(lines)
    )


def _excluding(
    tables: Tables, constraints: Sequence[Constraint], owners: list[int]
) -> Sequence[Constraint]:
    """Constraints on tables that nothing else ties together, if they alone exclude everything."""
    groups: list[tuple[frozenset[int], list[Constraint]]] = []
    for constraint, condition in zip(constraints, Graph(owners, constraints).conditions):
        tied = [group for group in groups if group[0] & condition.tables]
        members = [*(one for _, some in tied for one in some), constraint]
        groups = [group for group in groups if not group[0] & condition.tables]
        groups.append((condition.tables.union(*(known for known, _ in tied)), members))
    alone = (members for _, members in groups if _is_empty(tables, members, owners))
    return next(alone, constraints)


def _irreducible(
    tables: Tables, constraints: Sequence[Constraint], owners: list[int]
) -> tuple[list[Constraint], bool]:
    """Leave out constraints as long as the rest still excludes everything.

    Returns
    -------
    kept : list of Constraint
    all_needed : bool
        Whether without any one of them there are configs: False where that takes too many states.
    """
    kept, open_ones = list(constraints), list(constraints)
    while True:
        before, unknown = len(kept), []
        for constraint in open_ones:
            rest = [other for other in kept if other is not constraint]
            empty = _is_empty(tables, rest, owners)
            if empty:
                kept = rest
            elif empty is None:
                unknown.append(constraint)
        if not unknown or len(kept) == before:
            return kept, not unknown
        open_ones = unknown  # with fewer constraints there may be fewer states


def _is_empty(tables: Tables, constraints: Sequence[Constraint], owners: list[int]) -> bool | None:
    """Whether constraints exclude every config; None where a join would have too many states."""
    graph = Graph(owners, constraints)
    try:
        relations, _ = Joiner(graph, range(len(constraints)), tables).run()
    except TooManyStates:
        return None
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
