"""Stages of work that end within a budget and go on where they stopped.

A stage is a list of keys; what became of each is a line of a JSONL file, written as soon as it is
known. Whoever kills the program loses the batch under way and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resuming import add_row, rows_of

Record = dict[str, Any]


class Budget:
    """Seconds that may be spent, counted from the making of this object."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left_s(self) -> float:
        """Seconds left; below 0 when overspent."""
        return self._end - self._clock()

    def now_s(self) -> float:
        """Seconds on the budget's clock, whose zero means nothing."""
        return self._clock()


class Journal:
    """What became of every key, as lines of a JSONL file.

    A line that a kill has cut short is dropped when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._records = rows_of(path)

    def append(self, stage: str, record: Record) -> None:
        """Keep a record for good."""
        full = {"stage": stage, **record}
        add_row(self._path, full)
        self._records.append(full)

    def of(self, stage: str) -> list[Record]:
        """Records of a stage, one per finished key: the latest."""
        latest = {r["key"]: r for r in self._records if r["stage"] == stage and r["finished"]}
        return list(latest.values())

    def parts(self, stage: str, key: str) -> list[Record]:
        """Records of a key's unfinished attempts, oldest first."""
        found = (r for r in self._records if (r["stage"], r["key"]) == (stage, key))
        return [record for record in found if not record["finished"]]


@dataclass(frozen=True, slots=True)
class Stage:
    """Work by keys.

    Attributes
    ----------
    name : str
    keys : sequence of str
    batch : int
        Keys that are worked on at a time.
    work : Callable
        Takes keys and the seconds left; gives a record per key with at least ``key``. One with
        ``finished=False`` is kept but its key comes again in a later run.
    """

    name: str
    keys: Sequence[str]
    batch: int
    work: Callable[[list[str], float], Iterable[Record]]


def advance(stage: Stage, journal: Journal, budget: Budget, *, retry: bool = False) -> bool:
    """Work on what is left of a stage until it or the budget ends.

    No batch starts that would overspend if it took as long as the slowest one before it.

    Parameters
    ----------
    stage, journal, budget
        What to do, where the results are, how long it may take.
    retry : bool
        Whether keys whose record says ``ok=False`` are worked on again.

    Returns
    -------
    bool
        Whether the stage is finished.
    """
    done = {r["key"] for r in journal.of(stage.name) if not retry or r.get("ok", True)}
    todo = [key for key in stage.keys if key not in done]
    slowest = 0.0
    while todo:
        if budget.left_s() <= slowest:
            return False
        start = budget.now_s()
        batch, todo = todo[: stage.batch], todo[stage.batch :]
        unfinished = False
        for record in stage.work(batch, budget.left_s()):
            full = {"finished": True, **record}
            journal.append(stage.name, full)
            unfinished |= not full["finished"]
        if unfinished:
            return False
        slowest = max(slowest, budget.now_s() - start)
    return True
