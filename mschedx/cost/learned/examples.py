"""Measured programs as a network trains on them, and batches of them.

Notation
--------
n : number of programs in a batch.
S, R : most statements and accesses of a program in it; F, G their columns (see `features`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .features import ProgramArrays

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Programs padded to one size.

    Parameters
    ----------
    statements : float tensor [n, S, F]
    is_statement : bool tensor [n, S]
        False where a row is padding.
    accesses : float tensor [n, R, G]
    is_access : bool tensor [n, R]
    """

    statements: torch.Tensor
    is_statement: torch.Tensor
    accesses: torch.Tensor
    is_access: torch.Tensor

    def __len__(self) -> int:
        return len(self.statements)

    @classmethod
    def of(cls, parts: Sequence[ProgramArrays]) -> Batch:
        """Put programs of several sketches under each other, at least one part."""
        statements, is_statement = _padded([part.statements for part in parts])
        accesses, is_access = _padded([part.accesses for part in parts])
        return cls(statements, is_statement, accesses, is_access)

    @classmethod
    def whole(cls, statements: torch.Tensor, accesses: torch.Tensor) -> Batch:
        """Take programs of one sketch as they are, [n, S, F] and [n, R, G], as float32."""
        found = []
        for rows in (statements.float(), accesses.float()):
            real = torch.ones(rows.shape[:2], dtype=torch.bool)
            if not rows.shape[1]:
                rows, real = (
                    rows.new_zeros(len(rows), 1, rows.shape[2]),
                    real.new_zeros(len(rows), 1),
                )
            found += [rows, real]
        return cls(*found)


@dataclass(frozen=True)
class Part:
    """Measured programs of one sketch.

    Parameters
    ----------
    task : str
        Key of the task.
    programs : ProgramArrays
    latency_s : float64 array [n]
        Seconds, > 0; ``inf`` for a program that failed.
    """

    task: str
    programs: ProgramArrays
    latency_s: FloatArray

    def __post_init__(self) -> None:
        if self.latency_s.shape != (len(self.programs),):
            raise ValueError(
                f"expected {len(self.programs)} latencies, got shape {self.latency_s.shape}"
            )


class Examples:
    """Measured programs of several tasks; those of a task of which nothing ran are left out.

    Parameters
    ----------
    parts : sequence of Part

    Attributes
    ----------
    tasks : list of str
        Those that are left.
    labels : float32 tensor [n]
        The best latency of a program's task over its own, 0 for one that failed.
    groups : int64 tensor [n]
        Position of its task.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        best: dict[str, float] = {}
        for part in parts:
            least = float(part.latency_s.min(initial=np.inf))
            best[part.task] = min(best.get(part.task, np.inf), least)
        self.tasks = [task for task, seconds in best.items() if np.isfinite(seconds)]
        kept = [part for part in parts if np.isfinite(best[part.task]) and len(part.latency_s)]
        number = {task: i for i, task in enumerate(self.tasks)}
        labels = [best[part.task] / part.latency_s for part in kept]
        groups = [np.full(len(part.latency_s), number[part.task]) for part in kept]
        self.labels = torch.tensor(np.concatenate([*labels, np.empty(0)]), dtype=torch.float32)
        self.groups = torch.tensor(np.concatenate([*groups, np.empty(0)]), dtype=torch.int64)
        self._programs = [part.programs for part in kept]
        sizes = [len(part.latency_s) for part in kept]
        self._part = np.repeat(np.arange(len(kept)), sizes)
        self._row = np.concatenate([*(np.arange(size) for size in sizes), np.empty(0, np.int64)])

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, which: torch.Tensor) -> tuple[Batch, torch.Tensor, torch.Tensor]:
        """Return programs [n], their labels and their groups, in an order of our choice."""
        chosen = which.numpy()
        order = np.argsort(self._part[chosen], kind="stable")
        chosen = chosen[order]
        parts = [
            self._programs[p].take(self._row[chosen[self._part[chosen] == p]])
            for p in np.unique(self._part[chosen])
        ]
        which = torch.from_numpy(chosen)
        return Batch.of(parts), self.labels[which], self.groups[which]

    def thinned(self, task: str, count: int, generator: torch.Generator) -> Examples:
        """Keep all programs of one task, and as many of the others as ``count`` leaves room for."""
        if len(self) <= count:
            return self
        own = self.groups == (self.tasks.index(task) if task in self.tasks else -1)
        others = torch.nonzero(~own).squeeze(1)
        drawn = others[torch.randperm(len(others), generator=generator)]
        room = max(count - int(own.sum()), 0)
        which = torch.cat([torch.nonzero(own).squeeze(1), drawn[:room]]).sort().values
        fewer = copy.copy(self)
        fewer.labels, fewer.groups = self.labels[which], self.groups[which]
        fewer._part, fewer._row = self._part[which.numpy()], self._row[which.numpy()]
        return fewer

    def statement_rows(self) -> torch.Tensor:
        """Every statement of every program, [m, F]."""
        return _rows([one.statements for one in self._programs])

    def access_rows(self) -> torch.Tensor:
        """Every access of every program, [m, G]."""
        return _rows([one.accesses for one in self._programs])

    def batches(
        self, size: int, by_task: bool, generator: torch.Generator
    ) -> Iterator[torch.Tensor]:
        """Go through all programs once, in random order, ``size`` at a time.

        Parameters
        ----------
        size : int
        by_task : bool
            Keep programs of a task together, at most an eighth of a batch of each in turn (all of
            it where there is one task), so that there are pairs to compare within it.
        generator : torch.Generator
        """
        order = torch.randperm(len(self), generator=generator)
        if by_task and len(self.tasks) > 1:
            chunks = [
                chunk
                for group in range(len(self.tasks))
                for chunk in order[self.groups[order] == group].split(max(size // 8, 2))
            ]
            shuffled = torch.randperm(len(chunks), generator=generator).tolist()
            order = torch.cat([chunks[i] for i in shuffled])
        yield from order.split(size)

    def balanced_batches(self, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Draw as many programs as there are, ``size`` at a time, tenths of the labels alike."""
        tenth = (self.labels * 10).long().clamp(max=9)
        weights = 1 / torch.bincount(tenth, minlength=10)[tenth]
        drawn = torch.multinomial(weights, len(self), replacement=True, generator=generator)
        yield from drawn.split(size)


def _padded(parts: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
    # Attention needs a row to look at, if only padding.
    rows = max(1, *(part.shape[1] for part in parts))
    count = sum(len(part) for part in parts)
    values = np.zeros((count, rows, parts[0].shape[2]), dtype=np.float32)
    real = np.zeros((count, rows), dtype=bool)
    start = 0
    for part in parts:
        values[start : start + len(part), : part.shape[1]] = part
        real[start : start + len(part), : part.shape[1]] = True
        start += len(part)
    return torch.from_numpy(values), torch.from_numpy(real)


def _rows(parts: Sequence[NDArray[np.float32]]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([part.reshape(-1, part.shape[2]) for part in parts]))
