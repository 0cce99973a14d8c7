"""Stages of a run that TVM's profile does not know, in the profile that is entered.

An ``ms.Profiler`` hears of building, of running and of callbacks; what a search and a cost model
do in Python is all one to it. `stage` adds their seconds under a name: `DRAFT`, `LOWER`, `PREDICT`,
`TRAIN`. Of stages within each other the innermost has the seconds, as `TRAIN` has them where a
model is trained when scores are next asked for: the stages add up to no more than the run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tvm.s_tir.meta_schedule import Profiler

DRAFT = "draft"
"""An analytical model's part of a search, with what it is asked and what it learns there."""

LOWER = "lower"
"""From configs to scheduled programs, with postprocs applied."""

PREDICT = "predict"
"""Scores of a cost model, for which it reads the programs."""

TRAIN = "train"
"""What a cost model learns."""

BUILD, RUN, RECORD = "SendToBuilder", "JoinRunnerFutures", "MeasureCallback/AddToDatabase"
"""TVM's own stages, for who measures without its scheduler (`ms.Profiler.timeit`)."""

UPDATE = "MeasureCallback/UpdateCostModel"
"""TVM's stage around a cost model's ``update``; of a model of ours no other is counted there."""


class _Here(threading.local):
    """What is open in this thread: profilers are of one thread, too."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.scope: AbstractContextManager[None] | None = None
        self.covered = False

    def count(self) -> None:
        """Let the innermost stage have the seconds from now on."""
        if self.scope is not None:
            self.scope.__exit__(None, None, None)
        self.scope = None
        if self.names:
            self.scope = Profiler.timeit(self.names[-1])
            self.scope.__enter__()


_here = _Here()


def seconds_by_stage(profiler: Profiler) -> dict[str, float]:
    """What a profile says so far: seconds by TVM's names and these, with their ``"Total"``."""
    return {str(name): float(seconds) for name, seconds in profiler.get().items()}


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the seconds of this block; of no effect where no profiler is entered.

    Parameters
    ----------
    name : str
        Under which the profile has them.
    """
    if _here.covered or Profiler.current() is None:
        yield
        return
    depth = len(_here.names)
    try:
        _here.names.append(name)
        _here.count()
        yield
    finally:
        del _here.names[depth:]
        _here.count()


@contextmanager
def covered_by_tvm() -> Iterator[None]:
    """Count no stages of this block: TVM's scope around it has all of its seconds."""
    before, _here.covered = _here.covered, True
    try:
        yield
    finally:
        _here.covered = before
