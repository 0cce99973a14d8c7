"""Partial evaluation: constraints as graphs whose leaves belong to one table each.

A constraint over many tables is evaluated table by table. What must be remembered of the tables
seen so far is little: a product of three factors, two of them known, is one number. This module
rewrites expressions into such graphs:

atom
    A maximal part of an expression that reads the columns of one table only.
node
    An atom, a constant, or an operation on nodes; interned, so that equal parts are one node.
slot
    A node that is known once a set of tables is, and that something not yet known needs. Of an
    associative operation all known arguments together make one slot.

The value of every slot of a union of two sets of tables follows from the slots of the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algebra import expression as ex
from ..algebra.constraints import Constraint, Relation
from ..algebra.expression import Expression
from ..algebra.operations import ADD, MULTIPLY, Bounds, Operation

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
# Bounds are float64: exact up to here, and beyond it widened before they exclude anything.
_EXACT = 2.0**52

_NEUTRAL = {MULTIPLY: ex.constant(1), ADD: ex.constant(0)}


@dataclass(frozen=True, slots=True)
class Node:
    """One node: an operation on other nodes, given by number, or a leaf without one.

    The payload of a leaf is the expression that an atom is, or the value of a constant.
    """

    operation: Operation | None
    arguments: tuple[int, ...]
    payload: Expression | int | None
    tables: frozenset[int]

    @property
    def folds(self) -> bool:
        """Whether the arguments may be taken together in any grouping."""
        return self.operation is not None and self.operation.associative


@dataclass(frozen=True, slots=True)
class Condition:
    """A constraint as two nodes."""

    left: int
    relation: Relation
    right: int
    tables: frozenset[int]

    def judge(self, left: Bounds, right: Bounds) -> tuple[Any, Any]:
        """Say where the condition may hold and where it must, from bounds of its sides.

        Returns
        -------
        possible, certain : bool array [n] or scalar
        """
        low, high = left
        least, most = right
        if self.relation is Relation.AT_LEAST:
            low, high, least, most = least, most, low, high
        if self.relation is Relation.EQUAL:
            fixed = (low == high) & (least == most) & (np.abs(low) < _EXACT)
            return (low <= _above(most)) & (least <= _above(high)), fixed & (low == least)
        if self.relation is Relation.MULTIPLE:
            return True, (least == 1) & (most == 1)
        return low <= _above(most), (high <= least) & (np.abs(high) < _EXACT)


class Values:
    """Slots gathered from several sources on demand.

    Parameters
    ----------
    *sources : pair of mapping and index
        Slot to int64 array, and the elements [n] to take of it; None takes all.
    """

    def __init__(self, *sources: tuple[Mapping[int, IntArray], IntArray | None]) -> None:
        self._sources = sources
        self._known: dict[int, Any] = {}

    def get(self, slot: int) -> Any:
        """Return the slot's values, or None when no source has it and none was set."""
        if slot not in self._known:
            for source, index in self._sources:
                if slot in source:
                    self._known[slot] = source[slot] if index is None else source[slot][index]
                    break
        return self._known.get(slot)

    def set(self, slot: int, value: Any) -> None:
        """Remember what has been computed."""
        self._known[slot] = value


class Graph:
    """The nodes of a set of constraints over given tables.

    Parameters
    ----------
    owners : sequence of int
        The table that each column belongs to; length D.
    constraints : sequence of Constraint
    """

    def __init__(self, owners: Sequence[int], constraints: Sequence[Constraint]) -> None:
        self._owners = list(owners)
        self._numbers: dict[tuple[Any, ...], int] = {}
        self.nodes: list[Node] = []
        self.conditions = tuple(self._condition(constraint) for constraint in constraints)

    def _condition(self, constraint: Constraint) -> Condition:
        left, right = self._build(constraint.left), self._build(constraint.right)
        tables = self.nodes[left].tables | self.nodes[right].tables
        return Condition(left, constraint.relation, right, tables)

    def _intern(
        self,
        operation: Operation | None,
        arguments: tuple[int, ...] = (),
        payload: Expression | int | None = None,
    ) -> int:
        key = (operation, arguments, payload)
        if key not in self._numbers:
            if isinstance(payload, Expression):
                tables = frozenset(self._owners[column] for column in payload.columns)
            else:
                tables = frozenset().union(*(self.nodes[a].tables for a in arguments))
            self._numbers[key] = len(self.nodes)
            self.nodes.append(Node(operation, arguments, payload, tables))
        return self._numbers[key]

    def fold(self, operation: Operation, arguments: Sequence[int]) -> int:
        """Intern an associative operation on a set of arguments; one alone is itself."""
        ordered = tuple(sorted(arguments))
        return ordered[0] if len(ordered) == 1 else self._intern(operation, ordered)

    def _build(self, e: Expression) -> int:
        tables = {self._owners[column] for column in e.columns}
        if not tables:
            return self._intern(None, payload=ex.constant_value(e))
        if len(tables) == 1:
            return self._intern(None, payload=e)
        if isinstance(e, ex.Monomial):
            parts = [ex.Monomial(1, (power,)) for power in e.exponents]
            return self._fold_by_table(MULTIPLY, [ex.constant(e.coefficient), *parts])
        if e.operation.associative:
            return self._fold_by_table(e.operation, e.parts)
        return self._intern(e.operation, tuple(self._build(part) for part in e.parts))

    def _fold_by_table(self, operation: Operation, parts: Sequence[Expression]) -> int:
        """Fold, with all that reads one table alone made into one atom of it."""
        alone: dict[int, list[Expression]] = {}
        constants: list[Expression] = []
        arguments: list[int] = []
        for part in parts:
            tables = {self._owners[column] for column in part.columns}
            if not tables:
                constants.append(part)
            elif len(tables) == 1:
                alone.setdefault(tables.pop(), []).append(part)
            elif isinstance(part, ex.Monomial) and operation is MULTIPLY:
                for power in part.exponents:
                    alone.setdefault(self._owners[power[0]], []).append(ex.Monomial(1, (power,)))
                constants.append(ex.constant(part.coefficient))
            else:
                arguments.append(self._build(part))
        atoms = (ex.fold(operation, alone[table]) for table in sorted(alone))
        arguments.extend(self._intern(None, payload=atom) for atom in atoms)
        neutral = _NEUTRAL.get(operation)
        total = ex.fold(operation, constants) if constants else None
        if total is not None and total != neutral:
            arguments.append(self._intern(None, payload=ex.constant_value(total)))
        return self.fold(operation, arguments)

    def width(self, position: int) -> int:
        """Count the leaves of a condition, with repetition: how much a join has to remember."""
        condition = self.conditions[position]
        return self._leaves(condition.left) + self._leaves(condition.right)

    def _leaves(self, number: int) -> int:
        arguments = self.nodes[number].arguments
        return sum(map(self._leaves, arguments)) if arguments else 1

    def slots(self, live: Sequence[Condition], known: frozenset[int]) -> dict[int, frozenset[int]]:
        """List what must be remembered of the tables ``known`` for conditions not yet decided.

        Returns
        -------
        dict
            Slot to the positions in ``live`` of the conditions that need it, sorted by slot.
        """
        users: dict[int, set[int]] = {}
        for position, condition in enumerate(live):
            for side in (condition.left, condition.right):
                for slot in self._frontier(side, known):
                    users.setdefault(slot, set()).add(position)
        return {slot: frozenset(users[slot]) for slot in sorted(users)}

    def _frontier(self, number: int, known: frozenset[int]) -> set[int]:
        node = self.nodes[number]
        if not node.tables & known:
            return set()
        if node.tables <= known:
            return {number}
        found: set[int] = set()
        ready: list[int] = []
        for argument in node.arguments:
            tables = self.nodes[argument].tables
            if tables and tables <= known and node.folds:
                ready.append(argument)
            else:
                found |= self._frontier(argument, known)
        if ready:
            assert node.operation is not None
            found.add(self.fold(node.operation, ready))
        return found

    def atoms(self, columns: Sequence[int], rows: IntArray) -> dict[int, IntArray]:
        """Evaluate every atom of one table on its rows; int64 [r] by node."""
        configs = np.zeros((len(rows), len(self._owners)), dtype=np.int64)
        configs[:, list(columns)] = rows
        own = set(columns)
        return {
            number: node.payload(configs)
            for number, node in enumerate(self.nodes)
            if isinstance(node.payload, Expression) and node.payload.columns <= own
        }

    def evaluate(self, number: int, values: Values, sides: Sequence[frozenset[int]]) -> Any:
        """Compute a node from slots; int64 [n], or a scalar when it is constant.

        Parameters
        ----------
        number : int
        values : Values
            The slots of every side; completed with what is computed on the way.
        sides : sequence of frozenset of int
            The sets of tables whose slots are in ``values``.
        """
        known = values.get(number)
        if known is not None:
            return known
        node = self.nodes[number]
        if isinstance(node.payload, int):
            return np.int64(node.payload)
        assert node.operation is not None, "the values of all atoms are known"
        if node.folds:
            value = self._evaluate_fold(node, node.operation, values, sides)
        else:
            arguments = [self.evaluate(a, values, sides) for a in node.arguments]
            for divisor in node.operation.divisors:
                # States whose conditions are all settled carry placeholders, which may give 0.
                arguments[divisor] = np.where(arguments[divisor] == 0, 1, arguments[divisor])
            value = node.operation.exact(*arguments)
        values.set(number, value)
        return value

    def _evaluate_fold(
        self, node: Node, operation: Operation, values: Values, sides: Sequence[frozenset[int]]
    ) -> Any:
        left = list(node.arguments)
        parts = []
        for side in sides:
            ready = [a for a in left if self.nodes[a].tables and self.nodes[a].tables <= side]
            if ready and len(ready) < len(node.arguments):
                parts.append(self.evaluate(self.fold(operation, ready), values, sides))
                left = [a for a in left if a not in ready]
        parts += [self.evaluate(a, values, sides) for a in left]
        return operation.exact(*parts)

    def ranges(
        self, atoms: Sequence[Mapping[int, IntArray]], keep: Sequence[BoolArray]
    ) -> dict[int, Bounds]:
        """Bound the leaves of the graph over the kept rows of every table.

        Parameters
        ----------
        atoms : sequence of mapping
            Per table, as :meth:`atoms` gives them.
        keep : sequence of bool array [r]
            Per table.
        """
        ranges: dict[int, Bounds] = {}
        for values, kept in zip(atoms, keep):
            for number, value in values.items():
                inside = value[kept]
                ranges[number] = (
                    (float(inside.min()), float(inside.max())) if len(inside) else (0.0, 0.0)
                )
        for number, node in enumerate(self.nodes):
            if isinstance(node.payload, int):
                ranges[number] = (float(node.payload), float(node.payload))
        return ranges

    def bounds(self, number: int, known: Mapping[int, Any], ranges: Mapping[int, Bounds]) -> Bounds:
        """Bound a node when some slots have values and all else lies in ``ranges``.

        Parameters
        ----------
        number : int
        known : mapping of int to int64 array [n]
            Slots.
        ranges : mapping of int to pair of float
            Bounds of every node over all rows of the tables.
        """
        if number in known:
            value = known[number].astype(np.float64)
            return value, value
        node = self.nodes[number]
        if node.operation is None:
            return ranges[number]
        left = list(node.arguments)
        parts: list[Bounds] = []
        if node.folds:
            for slot in known:
                other = self.nodes[slot]
                if other.operation is node.operation and set(other.arguments) < set(left):
                    parts.append(self.bounds(slot, known, ranges))
                    left = [a for a in left if a not in other.arguments]
        parts += [self.bounds(a, known, ranges) for a in left]
        return node.operation.bounds(*parts)


def _above(value: Any) -> Any:
    return np.where(np.abs(value) < _EXACT, value, value + 1e-12 * np.abs(value))


def holds(relation: Relation, left: Any, right: Any) -> Any:
    """Tell where ``left relation right``; arrays or scalars."""
    if relation is Relation.AT_MOST:
        return left <= right
    if relation is Relation.AT_LEAST:
        return left >= right
    if relation is Relation.EQUAL:
        return left == right
    return left % np.where(right == 0, 1, right) == 0
