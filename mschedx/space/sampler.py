"""Sampling valid configs: uniform, restricted, counted."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .constraints import Constraint
from .errors import EmptySpace

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class TableLike(Protocol):
    """What the sampler needs of a table."""

    @property
    def columns(self) -> tuple[int, ...]: ...
    @property
    def rows(self) -> IntArray: ...


class Sampler:
    """Uniform over the configs that are rows of every table and satisfy every constraint."""

    def __init__(
        self, tables: Sequence[TableLike], constraints: Sequence[Constraint], n_columns: int
    ) -> None:
        self._tables = list(tables)
        self._constraints = list(constraints)
        self._n_columns = n_columns
        self._seen = self._kept = 0

    @property
    def acceptance(self) -> float:
        return self._kept / self._seen if self._seen else 1.0

    def is_valid(self, configs: IntArray) -> BoolArray:
        valid = np.ones(len(configs), dtype=bool)
        for constraint in self._constraints:
            valid[valid] = constraint.holds(configs[valid])
        return valid

    def count(self) -> int | None:
        if self._constraints:
            return None
        return prod(len(table.rows) for table in self._tables)

    def _draw(self, n: int, rng: np.random.Generator) -> IntArray:
        configs = np.empty((n, self._n_columns), dtype=np.int64)
        for table in self._tables:
            picks = rng.integers(len(table.rows), size=n)
            configs[:, list(table.columns)] = table.rows[picks]
        return configs

    def sample(self, n: int, rng: np.random.Generator) -> IntArray:
        found: list[IntArray] = []
        total, tries = 0, 0
        while total < n:
            configs = self._draw(max(2 * n, 1024), rng)
            kept = configs[self.is_valid(configs)]
            self._seen += len(configs)
            self._kept += len(kept)
            found.append(kept)
            total += len(kept)
            tries += 1
            if tries > 1000 and total == 0:
                raise EmptySpace("no valid config found")
        return np.concatenate(found)[:n] if found else np.empty((0, self._n_columns), np.int64)

    def recombine(self, parents: IntArray, keys: BoolArray, rng: np.random.Generator) -> IntArray:
        m = len(parents)
        children = parents[:, 0].copy()
        todo = np.arange(m)
        for _ in range(16):
            if not len(todo):
                break
            trial = np.empty((len(todo), self._n_columns), dtype=np.int64)
            for table in self._tables:
                columns = list(table.columns)
                allowed = np.ones((len(todo), len(table.rows)), dtype=bool)
                for position, column in enumerate(columns):
                    among = (
                        parents[todo, :, column][:, :, None] == table.rows[None, None, :, position]
                    ).any(axis=1)
                    allowed &= among | ~keys[todo, column][:, None]
                score = rng.random(allowed.shape) * allowed
                trial[:, columns] = table.rows[score.argmax(axis=1)]
            good = self.is_valid(trial)
            children[todo[good]] = trial[good]
            todo = todo[~good]
        return children
