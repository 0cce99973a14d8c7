"""A sketch in a few lines: two tiles and two choices under one coupling constraint.

It has what a search touches of a real sketch, by brute force over its few thousand valid configs.
"""

import itertools
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from mschedx.space.errors import InvalidSchedule


@dataclass(frozen=True)
class ToyDecision:
    name: str
    column: int
    domain: tuple
    instruction: int


def factorizations(extent, parts):
    divisors = [d for d in range(1, extent + 1) if extent % d == 0]
    rows = [r for r in itertools.product(divisors, repeat=parts) if np.prod(r) == extent]
    return np.array(rows, dtype=np.int64)


class ToySketch:
    """m = 16 and n = 48 in three factors each, unroll and vector; inner tile of at most 64."""

    def __init__(self, m=16, n=48, unroll=(0, 16, 64), vector=(1, 4, 8), inner=64, broken=0):
        tiles = [factorizations(m, 3), factorizations(n, 3)]
        choices = [np.array(unroll)[:, None], np.array(vector)[:, None]]
        rows = itertools.product(*[[tuple(r) for r in part] for part in (*tiles, *choices)])
        space = np.array([sum(row, ()) for row in rows], dtype=np.int64)
        tables = tuple(
            SimpleNamespace(columns=columns, rows=table)
            for columns, table in zip(((0, 1, 2), (3, 4, 5), (6,), (7,)), (*tiles, *choices))
        )
        self.design = SimpleNamespace(tables=tables)
        self.inner = inner
        self.space = space[self._allowed(space)]
        names = ("m.0", "m.1", "m.2", "n.0", "n.1", "n.2", "unroll", "vector")
        instructions = (0, 0, 0, 1, 1, 1, 2, 3)
        self.decisions = tuple(
            ToyDecision(name, c, tuple(np.unique(space[:, c]).tolist()), instructions[c])
            for c, name in enumerate(names)
        )
        self.feature_names = (*names, "inner")
        self.feature_columns = (*(frozenset({c}) for c in range(8)), frozenset({2, 5}))
        self._members = {row.tobytes() for row in self.space}
        self._broken = broken
        self.built = 0

    def _allowed(self, configs):
        return (configs[:, 2] * configs[:, 5] <= self.inner) & (configs[:, 5] % configs[:, 7] == 0)

    def count(self):
        return len(self.space)

    def sample(self, n, rng):
        return self.space[rng.integers(len(self.space), size=n)]

    def is_valid(self, configs):
        rows = np.ascontiguousarray(configs, dtype=np.int64)
        return np.array([row.tobytes() in self._members for row in rows], dtype=bool)

    def recombine(self, parents, keys, rng):
        children = np.empty((len(parents), 8), dtype=np.int64)
        for i, (pair, key) in enumerate(zip(parents, keys)):
            fits = ~key | (self.space[:, None, :] == pair[None]).any(axis=1)
            choice = np.flatnonzero(fits.all(axis=1))
            children[i] = self.space[rng.choice(choice)]
        return children

    def features(self, configs):
        inner = (configs[:, 2] * configs[:, 5])[:, None]
        return np.log2(1.0 + np.hstack([configs, inner]))

    def schedule(self, config):
        """A stand-in for a Schedule; a ``broken`` share of the configs is refused."""
        self.built += 1
        if int(config.sum()) % 100 < self._broken:
            raise InvalidSchedule("toy", f"{config.tolist()}")
        return SimpleNamespace(mod=tuple(config.tolist()))


def latency(configs):
    """A landscape with one valley, a cliff and an interaction; seconds."""
    x = np.log2(configs.astype(np.float64) + 1)
    target = np.log2(np.array([4, 2, 2, 3, 1, 16, 16, 8]) + 1.0)
    distance = np.abs(x - target) @ np.array([0.3, 0.1, 0.6, 0.2, 0.1, 0.8, 0.3, 0.7])
    mismatch = np.abs(x[:, 2] - x[:, 6] / 2) * 0.3
    spill = np.where(configs[:, 2] * configs[:, 5] > 48, 0.8, 0.0)
    return 1e-4 * np.exp(distance + mismatch + spill)
