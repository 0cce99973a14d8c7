"""Everything measured so far, as programs to train on; features are computed once a trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..base import IntArray, Measured, by_key
from .examples import Examples, Part
from .features import ProgramArrays, ProgramFeatures

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch


@dataclass
class _Known:
    configs: IntArray
    part: Part


class MeasuredPrograms:
    """Trials of many tasks, by task and sketch.

    Parameters
    ----------
    reader : callable
        Gives the features of a sketch's programs.
    """

    def __init__(self, reader: Callable[[Sketch], ProgramFeatures]) -> None:
        self._reader = reader
        self._known: dict[tuple[str, str], _Known] = {}

    def note(self, task: str, measured: Sequence[Measured]) -> bool:
        """Take note of all trials of a task so far; tell whether there was anything new."""
        return any([self._note(task, part) for part in by_key(measured)])

    def best_s(self, task: str) -> float:
        """The least latency of a task in seconds, ``inf`` while nothing ran."""
        found = [k.part.latency_s for (key, _), k in self._known.items() if key == task]
        return float(np.concatenate([*found, np.empty(0)]).min(initial=np.inf))

    def examples(self) -> Examples:
        """Return what can be trained on, tasks in the order they came."""
        return Examples([known.part for known in self._known.values()])

    def _note(self, task: str, new: Measured) -> bool:
        key = (task, new.sketch.key)
        known = self._known.get(key)
        if known is None:
            if not len(new.configs):
                return False
            old, start = None, 0
        else:
            start = len(known.configs)
            # Trials are handed over in order, earlier ones again; anything else is read afresh.
            same = np.array_equal(known.configs, new.configs[:start])
            old, start = (known.part.programs, start) if same else (None, 0)
            if same and np.array_equal(known.part.latency_s, new.latency_s):
                return False
        programs = self._reader(new.sketch)(new.configs[start:])
        if old is not None:
            programs = ProgramArrays(
                np.concatenate([old.statements, programs.statements]),
                np.concatenate([old.accesses, programs.accesses]),
            )
        self._known[key] = _Known(new.configs.copy(), Part(task, programs, new.latency_s.copy()))
        return True
