"""Points: configs of several sketches in one array, and the sketches they belong to.

Notation
--------
S : number of sketches of a task; s : index of one.
D_s : number of decisions of sketch s; W = max D_s.
n : number of points.

A point is a sketch and a config of it. Points of different sketches share one matrix ``[n, W]``;
the columns past ``D_s`` are zero, so that two points are the same exactly when their rows are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mschedx.space.resolver import Resolver
    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task
    from mschedx.space.trace.design import Decision

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Points:
    """Configs of several sketches.

    Parameters
    ----------
    sketch : int64 array [n]
        Which sketch each point belongs to, in ``range(S)``.
    configs : int64 array [n, W]
        The config, padded with zeros past the sketch's own decisions.

    Raises
    ------
    ValueError
        For other shapes.
    """

    sketch: IntArray
    configs: IntArray

    def __post_init__(self) -> None:
        if self.sketch.shape != self.configs.shape[:1] or self.configs.ndim != 2:
            raise ValueError(
                f"expected sketch [n] and configs [n, W], got {self.sketch.shape} "
                f"and {self.configs.shape}"
            )

    def __len__(self) -> int:
        return len(self.sketch)

    def take(self, which: IntArray | BoolArray) -> Points:
        """Return the points at these positions, or where this mask is true."""
        return Points(self.sketch[which], self.configs[which])

    def codes(self) -> list[bytes]:
        """Return one hashable code per point; equal codes mean equal points."""
        rows = np.ascontiguousarray(np.column_stack([self.sketch, self.configs]))
        return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0].tolist()

    def distinct(self, without: Iterable[bytes] = ()) -> Points:
        """Keep the first of equal points, and none whose code is in ``without``, in order."""
        seen = set(without) if not isinstance(without, set | frozenset | dict) else without
        fresh: dict[bytes, int] = {}
        for position, key in enumerate(self.codes()):
            if key not in seen:
                fresh.setdefault(key, position)
        return self.take(np.fromiter(fresh.values(), dtype=np.int64, count=len(fresh)))

    @staticmethod
    def concatenate(parts: Sequence[Points]) -> Points:
        """Join points one after the other; at least one part, all of the same width."""
        return Points(
            np.concatenate([part.sketch for part in parts]),
            np.concatenate([part.configs for part in parts]),
        )


def genes(decisions: Sequence[Decision]) -> tuple[IntArray, ...]:
    """Group the columns of a sketch into genes, leaving out those with a single value.

    A gene is one sampling instruction: the factors of one tile, or one choice. Factors of a tile
    fix each other through their product, so freeing a single column often frees nothing; genes are
    what crossover keeps and mutation frees.
    """
    groups: dict[int, list[int]] = {}
    for decision in decisions:
        if len(decision.domain) > 1:
            groups.setdefault(decision.instruction, []).append(decision.column)
    return tuple(np.array(columns, dtype=np.int64) for columns in groups.values())


class SketchSet:
    """All sketches of one task, addressed by points.

    Parameters
    ----------
    sketches : sequence of Sketch
        At least one.
    spaces : sequence of int, optional
        Which design space each sketch comes from, in ``range(number of design spaces)``; a design
        space of its own each when left out. One design space may be many sketches, one per
        combination of compute locations.
    task : Task, optional
        That of the first sketch when None.
    opened : sequence of int, optional
        The sketches that are sampled from; all when None.

    Raises
    ------
    ValueError
        Without sketches, or for another number of spaces than of sketches.
    """

    def __init__(
        self,
        sketches: Sequence[Sketch],
        spaces: Sequence[int] | None = None,
        task: Task | None = None,
        opened: Sequence[int] | None = None,
    ) -> None:
        if not sketches:
            raise ValueError("expected at least one sketch, got none")
        self.sketches = tuple(sketches)
        self.task = self.sketches[0].task if task is None else task
        own = np.arange(len(sketches)) if spaces is None else np.asarray(spaces)
        if own.shape != (len(sketches),):
            raise ValueError(
                f"expected {len(sketches)} design spaces, one a sketch, got {len(own)}"
            )
        self.spaces = np.unique(own)
        self.by_space = [np.flatnonzero(own == space) for space in self.spaces]
        self.depths = tuple(len(sketch.decisions) for sketch in self.sketches)
        self.width = max(self.depths)
        self.opened = tuple(range(len(self)) if opened is None else opened)
        self._shared = self._shares()
        self.genes = tuple(genes(sketch.decisions) for sketch in self.sketches)

    def __len__(self) -> int:
        return len(self.sketches)

    @cached_property
    def resolver(self) -> Resolver:
        """Finds the sketch and config of a trace, of whatever sketch is not open too."""
        from mschedx.space.resolver import Resolver

        return Resolver(self.sketches)

    def open(self, sketch: int, narrowed: Sketch) -> None:
        """Sample from a sketch too, of which only the configs of ``narrowed`` are valid."""
        self.sketches = (*self.sketches[:sketch], narrowed, *self.sketches[sketch + 1 :])
        self.opened = tuple(sorted({*self.opened, sketch}))
        self._shared = self._shares()

    def grow(self) -> bool:
        """Open more sketches, if there are more; whether there were."""
        return False

    @property
    def begun(self) -> int:
        """How many design spaces have an open sketch."""
        return len(self._shared)

    @property
    def unbegun(self) -> int:
        """How many design spaces have sketches, none of which was opened yet."""
        return 0

    def ensure_open(self, sketches: Iterable[int]) -> None:
        """Open those of these sketches that wait for it, in order; here none does."""

    def _shares(self) -> list[tuple[IntArray, FloatArray]]:
        """The open sketches of each design space, with shares by number of configs if known."""
        shares = []
        for every in self.by_space:
            opened = every[np.isin(every, self.opened)]
            counts = [self.sketches[s].count() for s in opened]
            known = [count for count in counts if count is not None]
            # Python integers divide exactly where float64 would overflow.
            total = sum(known)
            if len(known) == len(opened):
                own = np.array([count / total for count in known])
            else:
                own = np.full(len(opened), 1 / len(opened))
            if len(opened):
                shares.append((opened, own))
        return shares

    def empty(self) -> Points:
        """No points, of the right width."""
        return Points(np.empty(0, np.int64), np.empty((0, self.width), np.int64))

    def lift(self, sketch: int, configs: IntArray) -> Points:
        """Turn configs [n, D_s] of one sketch into points."""
        padded = np.zeros((len(configs), self.width), dtype=np.int64)
        padded[:, : self.depths[sketch]] = configs
        return Points(np.full(len(configs), sketch, dtype=np.int64), padded)

    def of_one_key(self, sketch: int) -> list[int]:
        """The sketches that hold the same traces as this one, itself among them.

        Such are those that `Sketch.fix` makes of another.
        """
        key = self.sketches[sketch].key
        return [s for s, one in enumerate(self.sketches) if one.key == key]

    def place(self, sketch: int, configs: IntArray) -> Points:
        """Turn configs [n, D_s] that were resolved to one sketch into points.

        A config goes to the first open sketch of the key (`of_one_key`) in which it is valid, and
        stays where there is none.
        """
        owner = np.full(len(configs), -1, dtype=np.int64)
        for s in (s for s in self.of_one_key(sketch) if s in self.opened):
            missing = np.flatnonzero(owner < 0)
            if len(missing):
                owner[missing[self.sketches[s].is_valid(configs[missing])]] = s
        return Points(np.where(owner < 0, sketch, owner), self.lift(sketch, configs).configs)

    def config(self, points: Points, position: int) -> IntArray:
        """Return the config [D_s] of one point."""
        return points.configs[position, : self.depths[points.sketch[position]]]

    def groups(self, points: Points) -> list[tuple[int, IntArray, IntArray]]:
        """Split points by sketch: ``(s, positions [m], configs [m, D_s])``, present ones only."""
        found = []
        for s in np.unique(points.sketch):
            positions = np.flatnonzero(points.sketch == s)
            found.append((int(s), positions, points.configs[positions, : self.depths[s]]))
        return found

    def sample(self, count: int, rng: np.random.Generator) -> Points:
        """Draw valid points, the same number from every design space (give or take one).

        Equal shares, because a design space with more configs is not a better one. Which get the
        odd ones is drawn too, so that small counts favour none. Within a design space its sketches
        share in proportion to their configs, as a uniform draw from all of them would; alike, where
        the number of configs of any is not known. No points where no sketch is open.
        """
        spaces = len(self._shared)
        of_space = np.full(spaces, count // spaces)
        of_space[rng.permutation(spaces)[: count % spaces]] += 1
        shares = np.zeros(len(self), dtype=np.int64)
        for (opened, weights), share in zip(self._shared, of_space):
            shares[opened] = rng.multinomial(share, weights)
        parts = [
            self.lift(s, sketch.sample(int(share), rng))
            for s, (sketch, share) in enumerate(zip(self.sketches, shares))
            if share
        ]
        return Points.concatenate(parts) if parts else self.empty()

    def recombine(
        self, first: Points, second: Points, keys: BoolArray, rng: np.random.Generator
    ) -> Points:
        """Cross pairs of points; each pair must lie in one sketch.

        Parameters
        ----------
        first, second : Points [m]
        keys : bool array [m, W]
            Where true, the child takes the decision from one of its parents; the others are free.

        Returns
        -------
        Points [m]
            Valid children, in the order of the pairs.

        Raises
        ------
        ValueError
            For a pair from two sketches, and parents that are not valid.
        """
        if not np.array_equal(first.sketch, second.sketch):
            raise ValueError("expected parents of one sketch in every pair, got a mixed pair")
        children = np.zeros_like(first.configs)
        for s, positions, mothers in self.groups(first):
            depth = self.depths[s]
            if not depth:
                continue
            parents = np.stack([mothers, second.configs[positions, :depth]], axis=1)
            children[positions, :depth] = self.sketches[s].recombine(
                parents, keys[positions, :depth], rng
            )
        return Points(first.sketch.copy(), children)

    def is_valid(self, points: Points) -> BoolArray:
        """Tell which points are of an open sketch and satisfy its constraints; bool [n]."""
        valid = np.zeros(len(points), dtype=bool)
        for s, positions, configs in self.groups(points):
            if s in self.opened:
                valid[positions] = self.sketches[s].is_valid(configs)
        return valid
