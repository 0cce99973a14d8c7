"""A sketch in a few lines: two tiles and two choices under two coupling constraints.

It has what a search touches of a real sketch, over a few thousand valid configs, without TVM.
"""

import itertools
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np

from mschedx.space.algebra.constraints import at_most, multiple_of
from mschedx.space.algebra.expression import column, monomial
from mschedx.space.errors import InvalidSchedule
from mschedx.space.sampling.nearest import nearest
from mschedx.space.sampling.sampler import Sampler
from mschedx.space.task import Task

COLUMNS = ((0, 1, 2), (3, 4, 5), (6,), (7,))
NAMES = ("m.0", "m.1", "m.2", "n.0", "n.1", "n.2", "unroll", "vector")


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


_NUMBERS = itertools.count()


class ToySketch:
    """m and n in three factors each, unroll and vector; a bounded inner tile.

    ``broken`` of 100 configs (by their sum) do not materialise.
    """

    def __init__(self, m=16, n=48, unroll=(0, 16, 64), vector=(1, 4, 8), inner=64, broken=0):
        tables = [factorizations(m, 3), factorizations(n, 3)]
        tables += [np.array(choice)[:, None] for choice in (unroll, vector)]
        self.design = SimpleNamespace(
            tables=[SimpleNamespace(columns=c, rows=rows) for c, rows in zip(COLUMNS, tables)]
        )
        constraints = [
            at_most(monomial(1, {2: 1, 5: 1}), inner, "toy"),
            multiple_of(column(5), column(7), "toy"),
        ]
        self.sampler = Sampler(self.design.tables, constraints, 8)
        self.decisions = tuple(
            ToyDecision(NAMES[c], c, tuple(np.unique(rows[:, i]).tolist()), instruction)
            for instruction, (columns, rows) in enumerate(zip(COLUMNS, tables))
            for i, c in enumerate(columns)
        )
        self.feature_names = (*NAMES, "inner")
        self.feature_columns = (*(frozenset({c}) for c in range(8)), frozenset({2, 5}))
        self.count, self.sample = self.sampler.count, self.sampler.sample
        self.nearest = partial(nearest, self.sampler)
        self.is_valid, self.recombine = self.sampler.is_valid, self.sampler.recombine
        # Two toys are two sketches of the toys' one task, as in a real space.
        self.task, self.key = Task("toy"), f"toy {next(_NUMBERS)}"
        self.statements = ()
        self._broken = broken
        self.built = 0

    @property
    def space(self):
        """All valid configs, int64 [count, 8]."""
        return np.concatenate(list(self.sampler.every()))

    def features(self, configs):
        inner = (configs[:, 2] * configs[:, 5])[:, None]
        return np.log2(1.0 + np.hstack([configs, inner]))

    def schedule(self, config):
        """A stand-in for a Schedule, its module the config itself."""
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
