"""Data sets of measured configs: what models are trained on, as lines of JSON.

A file holds lines of two kinds, in any mixture. A *task* line names a workload, target and space,
so that its sketches can be opened again, and the machine and versions the latencies belong to. A
*trials* line holds configs of one sketch of a task and their latencies, failed ones as ``null``::

    {"kind": "task", "format": 1, "key": "…", "operator": ["gemm", [64, 64, 64], "float32"], …}
    {"kind": "trials", "task": "…", "sketch": 0, "configs": [[…], …], "latency_s": [1e-3, null]}

Each line is written at once and ends in a newline; a file that was cut loses its last line only.
Floats are written so that they read back the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class DatasetTask:
    """A workload on a target in a space, and the machine it was measured on.

    Parameters
    ----------
    key : str
        Stable across processes.
    operator : tuple of (str, tuple of int, str)
        Name, sizes and dtype, as `mschedx.workloads.make` takes them.
    target : dict
        Plain JSON of the target.
    space : str or None
        None for mschedx's own, otherwise what `mschedx.space.sketches` takes.
    machine : dict
        Processor, cores, and versions.
    decisions : tuple of tuple of str
        The names of every sketch's decisions: what the columns of its configs are.
    """

    key: str
    operator: tuple[str, tuple[int, ...], str]
    target: dict[str, Any]
    space: str | None
    machine: dict[str, Any]
    decisions: tuple[tuple[str, ...], ...]


@dataclass
class TaskTrials:
    """The trials of one task: per sketch, configs [n, D_s] and seconds [n], ``inf`` = failed."""

    task: DatasetTask
    configs: list[IntArray] = field(default_factory=list)
    latency_s: list[FloatArray] = field(default_factory=list)

    def __post_init__(self) -> None:
        for names in self.task.decisions:
            self.configs.append(np.empty((0, len(names)), dtype=np.int64))
            self.latency_s.append(np.empty(0))

    def __len__(self) -> int:
        return sum(map(len, self.latency_s))

    @property
    def best_s(self) -> float:
        """The least latency, ``inf`` where nothing ran."""
        return min((float(s.min()) for s in self.latency_s if len(s)), default=math.inf)

    def add(self, sketch: int, configs: IntArray, latency_s: FloatArray) -> None:
        """Append trials of one sketch."""
        self.configs[sketch] = np.concatenate([self.configs[sketch], configs])
        self.latency_s[sketch] = np.concatenate([self.latency_s[sketch], latency_s])


class DatasetFile:
    """A data set that grows; what is in it already is read first.

    Parameters
    ----------
    path : path
        Made when it does not exist.

    Attributes
    ----------
    tasks : dict of str to TaskTrials
    notes : list of str
        Lines that were set aside, and why.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.tasks: dict[str, TaskTrials] = {}
        self.notes: list[str] = []
        if self.path.exists():
            self._read()

    def declare(self, task: DatasetTask) -> TaskTrials:
        """Return the trials of a task, which is new or was declared before.

        Raises
        ------
        ValueError
            When the file has the task from another machine or with other decisions.
        """
        known = self.tasks.get(task.key)
        if known is None:
            self._write({"kind": "task", "format": FORMAT, **_plain(task)})
            known = self.tasks[task.key] = TaskTrials(task)
        elif known.task != task:
            parts = [
                n for n in ("machine", "decisions", "operator") if _differ(known.task, task, n)
            ]
            raise ValueError(
                f"{self.path}: task {task.key} was recorded with another {', '.join(parts)}; "
                "latencies of several machines or versions do not mix: use a file for each"
            )
        return known

    def append(self, task: str, sketch: int, configs: IntArray, latency_s: FloatArray) -> None:
        """Add trials of a declared task."""
        self._write(
            {
                "kind": "trials",
                "task": task,
                "sketch": sketch,
                "configs": configs.tolist(),
                "latency_s": [s if math.isfinite(s) else None for s in latency_s.tolist()],
            }
        )
        self.tasks[task].add(sketch, configs, latency_s)

    def _write(self, line: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(json.dumps(line, allow_nan=False).encode() + b"\n")

    def _read(self) -> None:
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            # The rest of a line whose end never came would swallow the next one.
            kept = content.rfind(b"\n") + 1
            self.notes.append(f"a line without its end, {len(content) - kept} bytes, was dropped")
            with self.path.open("r+b") as file:
                file.truncate(kept)
            content = content[:kept]
        for number, text in enumerate(content.splitlines(), start=1):
            try:
                self._take(json.loads(text))
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:  # noqa: PERF203
                self.notes.append(f"line {number} was set aside: {error!r}")

    def _take(self, line: dict[str, Any]) -> None:
        if line["kind"] == "task":
            if line["format"] != FORMAT:
                raise ValueError(f"format {line['format']}, expected {FORMAT}")
            name, sizes, dtype = line["operator"]
            task = DatasetTask(
                line["key"],
                (name, tuple(sizes), dtype),
                line["target"],
                line["space"],
                line["machine"],
                tuple(tuple(names) for names in line["decisions"]),
            )
            self.tasks.setdefault(task.key, TaskTrials(task))
            return
        trials = self.tasks[line["task"]]
        names = trials.task.decisions[line["sketch"]]
        # A sketch without decisions has rows of no columns, which no -1 can count.
        rows = line["configs"]
        configs = np.array(rows, dtype=np.int64).reshape(len(rows), len(names))
        seconds = [math.inf if s is None else float(s) for s in line["latency_s"]]
        if len(seconds) != len(configs) or not all(s > 0 for s in seconds):
            raise ValueError(f"{len(configs)} configs with the latencies {seconds[:3]}…")
        trials.add(line["sketch"], configs, np.array(seconds))


def read_datasets(
    paths: Sequence[str | Path], say: Callable[[str], None] = lambda text: None
) -> list[TaskTrials]:
    """Read the tasks of several files, those without trials left out.

    Parameters
    ----------
    paths : sequence of path
    say : callable
        Told of the lines that were set aside.

    Raises
    ------
    FileNotFoundError, ValueError
        When a file is missing, or holds no task.
    """
    found: list[TaskTrials] = []
    for path in paths:
        if not Path(path).exists():
            raise FileNotFoundError(f"{path}: expected a data set written by `mschedx dataset`")
        file = DatasetFile(path)
        if not file.tasks:
            raise ValueError(f"{path}: expected a data set, found no task in it; {file.notes[:1]}")
        for note in file.notes:
            say(f"{path}: {note}")
        found += [trials for trials in file.tasks.values() if len(trials)]
    return found


def _plain(task: DatasetTask) -> dict[str, Any]:
    return {
        "key": task.key,
        "operator": [task.operator[0], list(task.operator[1]), task.operator[2]],
        "target": task.target,
        "space": task.space,
        "machine": task.machine,
        "decisions": [list(names) for names in task.decisions],
    }


def _differ(a: DatasetTask, b: DatasetTask, name: str) -> bool:
    return getattr(a, name) != getattr(b, name)
