"""Uniform samples of valid configs, counted exactly, free or restricted to parents' values.

Notation
--------
n : number of configs drawn.
D : number of columns.
m : number of children, P : of parents of each.
r : number of rows of a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..algebra.constraints import Constraint
from ..errors import EmptySpace, SparseSpace
from .counted_states import CountedStates
from .diagnose import explain
from .join import Joiner, JoinOrder, TooManyStates
from .partial_evaluation import Graph
from .unique_rows import RowIndex

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

COUNTABLE = 1 << 21
"""Most configs that are looked at one by one to count those a rejected constraint leaves."""

_AT_ONCE = 1 << 17
_JUDGING = 4096
"""Draws by which it is judged how many of them are kept."""
_JUDGED_DRAWS = 1 << 22
"""Draws after which it is judged whether as many more as are needed are worth it."""
_MOST_DRAWS = 1 << 26
"""Draws that one sample may need: ten seconds to half a minute."""
_TRIES = (4, 16, 64)
_MASK_ELEMENTS = 1 << 24


class TableLike(Protocol):
    """What the sampler needs of a table: columns, and rows int64 [r, len(columns)]."""

    @property
    def columns(self) -> tuple[int, ...]: ...

    @property
    def rows(self) -> IntArray: ...


class Sampler:
    """Uniform over the configs that take a row of every table and satisfy every constraint.

    Constraints are joined into the tables (:mod:`.join`), which counts exactly and draws without
    rejection. Where a join would need too many states, the constraint with the most terms is left
    to rejection instead: draws stay uniform, ``acceptance`` drops below 1, and the count is unknown
    unless the remaining configs are few. Counts beyond 2**62 are exact too, but then draws are
    uniform only up to the rounding of floating point.

    Parameters
    ----------
    tables : sequence of TableLike
        Together they decide every column exactly once.
    constraints : sequence of Constraint
    n_columns : int
    """

    def __init__(
        self, tables: Sequence[TableLike], constraints: Sequence[Constraint], n_columns: int
    ) -> None:
        owners = [-1] * n_columns
        for number, table in enumerate(tables):
            for column in table.columns:
                if owners[column] != -1:
                    raise ValueError(f"column {column} is decided by more than one table")
                owners[column] = number
        if -1 in owners:
            raise ValueError(f"no table decides column {owners.index(-1)}")
        self._tables = [(tuple(table.columns), table.rows) for table in tables]
        self._constraints = list(constraints)
        self.n_columns = n_columns
        self._graph = Graph(owners, constraints)

    @property
    def tables(self) -> list[tuple[tuple[int, ...], IntArray]]:
        """Columns, and rows int64 [r, len(columns)], of every table."""
        return self._tables

    @property
    def constraints(self) -> list[Constraint]:
        """What every valid config satisfies."""
        return self._constraints

    @property
    def rejected(self) -> tuple[Constraint, ...]:
        """The constraints that are left to rejection."""
        _, _, active = self._joined
        return tuple(c for i, c in enumerate(self._constraints) if i not in active)

    @cached_property
    def acceptance(self) -> float:
        """The share of draws that the rejected constraints leave; 1.0 when there are none.

        Of 4096 draws that are always the same. `EmptySpace` when there is nothing to draw.
        """
        if not self.rejected:
            return 1.0
        self._refuse_empty()
        return len(self._accepted(_JUDGING, np.random.default_rng(0))) / _JUDGING

    def count(self) -> int | None:
        """Count the valid configs exactly; None when a rejected constraint makes it infeasible."""
        total = self._total
        if not self.rejected or total == 0:
            return total
        relations, _, _ = self._joined
        if total > COUNTABLE or not all(relation.numbered for relation in relations):
            return None
        return sum(map(len, self.every()))

    def every(self, batch: int = 1 << 16) -> Iterator[IntArray]:
        """Go through all valid configs once, in batches int64 [<= batch, D].

        For small spaces: the time is that of the joined count, whatever is rejected.
        """
        relations, _, _ = self._joined
        sizes = [int(relation.counts.sum()) for relation in relations]
        for start in range(0, prod(sizes), batch):
            index = np.arange(start, min(start + batch, prod(sizes)))
            rows: dict[int, IntArray] = {}
            for relation, size in zip(relations, sizes):
                relation.pick(np.zeros(len(index), dtype=np.int64), index % size, rows)
                index = index // size
            configs = self._configs(rows, len(index))
            yield configs[self._passes(configs)]

    def sample(self, n: int, rng: np.random.Generator) -> IntArray:
        """Draw ``n`` valid configs independently and uniformly.

        Returns
        -------
        int64 array [n, D]

        Raises
        ------
        EmptySpace
            When nothing is valid; says which constraints exclude everything, and by how much.
        SparseSpace
            When rejection leaves so few that ``n`` would take more than 2**26 draws, or none of
            2**22.
        """
        self._refuse_empty()
        if not self.rejected:
            return self._draw(n, rng)
        found: list[IntArray] = []
        missing, tried = n, 0
        while missing > 0:
            # What other calls drew must not matter: the same generator, the same configs.
            size = min(int(missing / max(self.acceptance, 1e-3) * 1.1) + 64, _AT_ONCE)
            configs = self._accepted(size, rng)[:missing]
            found.append(configs)
            missing -= len(configs)
            tried += size
            self._refuse_rare(n, n - missing, tried)
        return np.concatenate(found) if found else self._draw(0, rng)

    def is_valid(self, configs: IntArray) -> BoolArray:
        """Tell which configs [n, D] are rows of the tables and satisfy the constraints; [n].

        Raises
        ------
        ValueError
            For another shape; values that are no whole numbers are only not valid.
        """
        given = np.asarray(configs)
        if given.ndim != 2 or given.shape[1] != self.n_columns:
            raise ValueError(f"expected configs [n, {self.n_columns}], got {given.shape}")
        valid = np.ones(len(given), dtype=bool)
        if given.dtype.kind == "f":  # what is no whole number is no config
            valid = (given == np.rint(given)).all(axis=1) & np.isfinite(given).all(axis=1)
            given = np.where(valid[:, None], given, 0)
        configs = given.astype(np.int64, copy=False)
        for (columns, _), index in zip(self._tables, self._indices):
            valid &= index.contains(configs[:, columns])
        valid[valid] = self._passes(configs[valid], self._constraints)
        return valid

    def recombine(self, parents: IntArray, keys: BoolArray, rng: np.random.Generator) -> IntArray:
        """Draw children whose key columns take parents' values, all else free.

        Child ``i`` is uniform over the valid configs whose column ``d`` is one of
        ``parents[i, :, d]`` wherever ``keys[i, d]``. Its first parent is such a config, hence
        there always is one.

        Parameters
        ----------
        parents : int64 array [m, P, D]
            Valid configs.
        keys : bool array [m, D]

        Returns
        -------
        int64 array [m, D]
            ``parents[i, 0]`` where nothing else is valid.

        Raises
        ------
        ValueError
            For other shapes, or a parent with values that no row of a table has.
        """
        parents, keys = np.asarray(parents, dtype=np.int64), np.asarray(keys, dtype=bool)
        if parents.ndim != 3 or keys.shape != (len(parents), self.n_columns):
            raise ValueError(
                f"expected parents [m, P, {self.n_columns}] and keys [m, {self.n_columns}], "
                f"got {parents.shape} and {keys.shape}"
            )
        rows = sum(len(rows) for _, rows in self._tables)
        step = max(1, _MASK_ELEMENTS // max(rows, 1))
        pieces = [
            self._recombine(parents[i : i + step], keys[i : i + step], rng)
            for i in range(0, len(parents), step)
        ]
        return np.concatenate(pieces) if pieces else parents[:, 0]

    def _recombine(self, parents: IntArray, keys: BoolArray, rng: np.random.Generator) -> IntArray:
        masks = [_mask(parents, keys, columns, rows) for columns, rows in self._tables]
        children = parents[:, 0].copy()
        self._fill(children, masks, rng)
        return children

    def restricted(
        self, allowed: list[BoolArray], rng: np.random.Generator
    ) -> tuple[IntArray, BoolArray]:
        """Draw one valid config from the rows that each of m children may take.

        Parameters
        ----------
        allowed : list of bool arrays [m, r]
            One per table; at least one row of each for every child.
        rng : numpy.random.Generator

        Returns
        -------
        configs : int64 array [m, D]
        found : bool array [m]
            Where there is one; constraints left to rejection may make it miss a few.

        Raises
        ------
        ValueError
            For a child that may take no row of some table.
        """
        nothing = np.iinfo(np.int64).min
        configs = np.full((len(allowed[0]), self.n_columns), nothing, dtype=np.int64)
        self._fill(configs, allowed, rng)
        return configs, (configs != nothing).all(axis=1)

    def _fill(self, children: IntArray, masks: list[BoolArray], rng: np.random.Generator) -> None:
        """Overwrite each child [m, D] by a valid config of rows it allows, if there is one."""
        missing = np.arange(len(children))
        for tries in _TRIES:
            if not len(missing):
                return
            trial = self._restricted(masks, np.repeat(missing, tries), rng)
            good = self._passes(trial, self._constraints).reshape(len(missing), tries)
            first, found = good.argmax(axis=1), good.any(axis=1)
            chosen = trial.reshape(len(missing), tries, -1)[np.arange(len(missing)), first]
            children[missing[found]] = chosen[found]
            missing = missing[~found]
        if len(missing):
            self._exact_children(children, missing, masks, rng)

    def _restricted(
        self, masks: list[BoolArray], which: IntArray, rng: np.random.Generator
    ) -> IntArray:
        """Draw rows that each child of ``which`` [n] allows, ignoring the constraints."""
        configs = np.empty((len(which), self.n_columns), dtype=np.int64)
        for (columns, rows), mask in zip(self._tables, masks):
            # Allowed rows of all children in one list; child i's begin at ends[i] - sizes[i].
            sizes = mask.sum(axis=1)
            if not sizes[which].all():
                raise ValueError(
                    f"expected a row of columns {columns} that each child may take, got none for "
                    "one of them: parents must be valid configs"
                )
            ends = np.cumsum(sizes)
            allowed = np.nonzero(mask)[1]
            picks = (ends - sizes)[which] + rng.integers(0, sizes[which])
            configs[:, columns] = rows[allowed[picks]]
        return configs

    def _exact_children(
        self,
        children: IntArray,
        missing: IntArray,
        masks: list[BoolArray],
        rng: np.random.Generator,
    ) -> None:
        """Draw the children ``missing`` by joining the rows that each allows, side by side."""
        _, plan, active = self._joined
        allowed = [np.nonzero(mask[missing]) for mask in masks]
        tables = [
            (columns, rows[picks]) for (columns, rows), (_, picks) in zip(self._tables, allowed)
        ]
        try:
            joiner = Joiner(self._graph, active, tables, [groups for groups, _ in allowed])
            relations, _ = joiner.run(plan)
        except TooManyStates:
            if len(missing) == 1:
                return
            half = len(missing) // 2
            self._exact_children(children, missing[:half], masks, rng)
            self._exact_children(children, missing[half:], masks, rng)
            return
        solvable = np.ones(len(missing), dtype=bool)
        for relation in relations:
            solvable &= np.isin(np.arange(len(missing)), relation.groups)
        which = np.repeat(np.flatnonzero(solvable), 64 if self.rejected else 1)
        rows: dict[int, IntArray] = {}
        for relation in relations:
            relation.draw(np.searchsorted(relation.groups, which), rng, rows)
        configs = self._configs(rows, len(which), tables)
        passing = self._passes(configs)
        children[missing[which[passing]]] = configs[passing]

    @cached_property
    def _indices(self) -> list[RowIndex]:
        return [RowIndex(rows) for _, rows in self._tables]

    @cached_property
    def _joined(self) -> tuple[list[CountedStates], JoinOrder, tuple[int, ...]]:
        """The relations, their plan, and which constraints they enforce."""
        active = list(range(len(self._constraints)))
        while True:
            try:
                relations, plan = Joiner(self._graph, active, self._tables).run()
            except TooManyStates as excess:
                active.remove(max(excess.conditions, key=self._graph.width))
                continue
            return relations, plan, tuple(active)

    @cached_property
    def _total(self) -> int:
        relations, _, _ = self._joined
        return prod(int(relation.counts.sum()) for relation in relations)

    def _refuse_empty(self) -> None:
        if self._total == 0:
            raise EmptySpace(explain(self._tables, self._constraints, self.n_columns))

    def _refuse_rare(self, wanted: int, found: int, tried: int) -> None:
        """Give up a sample that draws of this kind will not complete in time."""
        if tried <= _JUDGED_DRAWS or tried * (wanted - found) <= _MOST_DRAWS * found:
            return
        names = "\n".join(f"  {constraint}" for constraint in self.rejected)
        if not found:
            raise SparseSpace(f"none of {tried} draws satisfies\n{names}")
        raise SparseSpace(
            f"expected constraints under which {wanted} configs can be drawn, got {found} in "
            f"{tried} draws; the constraints that draws have to meet by chance are\n{names}\n"
            "widen or replace these, or draw fewer configs"
        )

    def _accepted(self, n: int, rng: np.random.Generator) -> IntArray:
        """Draw ``n`` configs of the joined constraints and keep what the others accept."""
        configs = self._draw(n, rng)
        return configs[self._passes(configs)]

    def _passes(
        self, configs: IntArray, constraints: Sequence[Constraint] | None = None
    ) -> BoolArray:
        """Tell which configs satisfy the given constraints, by default the rejected ones."""
        passes = np.ones(len(configs), dtype=bool)
        for constraint in self.rejected if constraints is None else constraints:
            passes[passes] = constraint.holds(configs[passes])
        return passes

    def _draw(self, n: int, rng: np.random.Generator) -> IntArray:
        rows: dict[int, IntArray] = {}
        for relation in self._joined[0]:
            relation.draw(np.zeros(n, dtype=np.int64), rng, rows)
        return self._configs(rows, n)

    def _configs(
        self,
        picks: dict[int, IntArray],
        n: int,
        tables: Sequence[tuple[tuple[int, ...], IntArray]] | None = None,
    ) -> IntArray:
        configs = np.empty((n, self.n_columns), dtype=np.int64)
        for number, (columns, rows) in enumerate(self._tables if tables is None else tables):
            configs[:, columns] = rows[picks[number]]
        return configs


def _mask(
    parents: IntArray, keys: BoolArray, columns: tuple[int, ...], rows: IntArray
) -> BoolArray:
    """Tell which rows of a table each child may take; bool [m, r]."""
    mask = np.ones((len(parents), len(rows)), dtype=bool)
    for position, column in enumerate(columns):
        if keys[:, column].any():
            domain, inverse = np.unique(rows[:, position], return_inverse=True)
            inherited = (parents[:, :, column, None] == domain).any(axis=1)
            mask &= (inherited | ~keys[:, column, None])[:, inverse]
    return mask
