"""Data sets of measured configs: what models are trained on, as lines of JSON.

A file holds lines of two kinds, in any mixture. A *task* line names a workload, target and space,
so that its sketches can be opened again, and the machine and versions the latencies belong to. A
*trials* line holds configs of one sketch of a task and their latencies, failed ones as ``null``::

    {"kind": "task", "format": 2, "key": "…",
     "operator": {"name": "gemm", "sizes": [64, 64, 64], "dtype": "float32"}, …}
    {"kind": "trials", "task": "…", "sketch": 0, "configs": [[…], …], "latency_s": [1e-3, null]}

A field has the same type in every line, so that ``pyarrow.json.read_json`` gives a file as a table
(``pip install 'mschedx[arrow]'``).

Each line is written at once and ends in a newline; a file that was cut loses its last line only.
Reading changes nothing: what is broken is set aside, and the next line begins on one of its own.
One process writes at a time: which declaration trials belong to depends on what stands before them.
Floats are written so that they read back the same.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lines import Line, append_lines, read_lines
from .lock import try_lock

FORMAT = 2

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
        Name, sizes and dtype, as `mschedx.workloads.make` takes them. `mschedx dataset` writes all
        sizes, those too that are at their defaults.
    target : dict
        Plain JSON of the target.
    space : str or None
        None for mschedx's own, otherwise what `mschedx.space.sketches` takes.
    machine : dict
        Processor, the CPU's model, cores, and versions.
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
    """A data set that grows; what is in it already is read first, and none of it is lost.

    A file may hold a task several times, from several machines, as when files were put together:
    trials belong to the declaration of their task that stands before them.
    From the first write on, until this object is gone, no other process can write.

    Parameters
    ----------
    path : path
        Made when it does not exist.

    Attributes
    ----------
    tasks : dict of str to TaskTrials
        As declared last.
    parts : list of TaskTrials
        All declarations, those of other machines too.
    notes : list of str
        Lines that were set aside, and why.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: _Lock | None = None
        self._read()

    def _read(self) -> None:
        self.tasks: dict[str, TaskTrials] = {}
        self.parts: list[TaskTrials] = []
        self.notes: list[str] = []
        self._size = self.path.stat().st_size if self.path.exists() else 0
        for line in read_lines(self.path):
            try:
                self._take(line)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
                self.notes.append(f"line {line.number + 1} was set aside: {error!r}")

    def declare(self, task: DatasetTask) -> TaskTrials:
        """Return the trials of a task, which is new or was declared before.

        Raises
        ------
        ValueError
            When the file has the task from another machine or with other decisions, or
            another process writes to it.
        """
        self._claim()
        known = self.tasks.get(task.key)
        if known is None:
            append_lines(self.path, [{"kind": "task", "format": FORMAT, **_plain(task)}])
            return self._add(task)
        if differing := _differing(known.task, task):
            raise ValueError(
                f"{self.path}: task {task.key} was recorded with another {', '.join(differing)}; "
                "latencies of several machines or versions do not mix: use a file for each"
            )
        return known

    def append(self, task: str, sketch: int, configs: IntArray, latency_s: FloatArray) -> None:
        """Add trials of a declared task.

        Parameters
        ----------
        task : str
            Its key.
        sketch : int
        configs : int array [n, D]
            D decisions, as the task declares them for the sketch.
        latency_s : float array [n]
            Seconds, > 0; infinite for a trial that failed.

        Raises
        ------
        ValueError
            For trials that do not fit the task, of which nothing is written; when another process
            writes to the file.
        """
        self._claim()
        self._require_fitting(task, sketch, configs, latency_s)
        line = {
            "kind": "trials",
            "task": task,
            "sketch": sketch,
            "configs": configs.tolist(),
            "latency_s": [s if math.isfinite(s) else None for s in latency_s.tolist()],
        }
        append_lines(self.path, [line])
        self.tasks[task].add(sketch, configs, latency_s)

    def _require_fitting(
        self, task: str, sketch: int, configs: IntArray, latency_s: FloatArray
    ) -> None:
        """Refuse what could not be read again: it would be set aside each time."""
        known = self.tasks.get(task)
        if known is None:
            raise ValueError(
                f"{self.path}: expected trials of a declared task, got {task!r}: declare it first"
            )
        widths = [len(names) for names in known.task.decisions]
        if not 0 <= sketch < len(widths):
            raise ValueError(
                f"{self.path}: expected a sketch of task {task} from 0 to {len(widths) - 1}, got "
                f"{sketch}"
            )
        wanted = (len(latency_s), widths[sketch])
        if configs.shape != wanted or configs.dtype.kind not in "iu" or latency_s.ndim != 1:
            raise ValueError(
                f"{self.path}: expected configs of integers of shape {wanted} for sketch {sketch} "
                f"of task {task} and as many latencies, got {configs.dtype} {configs.shape} and "
                f"latencies of shape {latency_s.shape}"
            )
        if not (latency_s > 0).all():  # also for NaN
            raise ValueError(
                f"{self.path}: expected latencies above 0, infinite for trials that failed, got "
                f"{latency_s[~(latency_s > 0)][0]}"
            )

    def _claim(self) -> None:
        """Keep other processes from writing, and read what they have written until now."""
        if self._lock is not None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_of(self.path)
        if self.path.stat().st_size != self._size:
            self._read()

    def _add(self, task: DatasetTask) -> TaskTrials:
        self.parts.append(TaskTrials(task))
        self.tasks[task.key] = self.parts[-1]
        return self.parts[-1]

    def _take(self, found: Line) -> None:
        line = found.content
        if line is None:
            raise ValueError("it is not whole JSON")
        if line["kind"] == "task":
            self._take_task(line, found.number + 1)
            return
        trials, sketch = self.tasks[line["task"]], line["sketch"]
        decisions = trials.task.decisions
        if type(sketch) is not int or not 0 <= sketch < len(decisions):
            raise ValueError(f"sketch {sketch!r} of {len(decisions)}")
        configs = _configs(line["configs"], len(decisions[sketch]))
        seconds = [_seconds(s) for s in line["latency_s"]]
        if len(seconds) != len(configs):
            raise ValueError(f"{len(configs)} configs with {len(seconds)} latencies")
        trials.add(sketch, configs, np.array(seconds))

    def _take_task(self, line: dict[str, Any], number: int) -> None:
        for name, kind in _DECLARED.items():
            if not isinstance(line[name], kind):
                raise ValueError(f"{name} is {line[name]!r}, expected {kind.__name__}")
        if line["format"] != FORMAT:
            # What follows of this task has nowhere to go, rather than to another declaration.
            self.tasks.pop(line["key"], None)
            raise ValueError(f"format {line['format']}, expected {FORMAT}")
        operator = line["operator"]
        task = DatasetTask(
            line["key"],
            (operator["name"], tuple(operator["sizes"]), operator["dtype"]),
            line["target"],
            line["space"],
            line["machine"],
            tuple(tuple(names) for names in line["decisions"]),
        )
        same = [part for part in self.parts if part.task.key == task.key]
        alike = [part for part in same if not _differing(part.task, task)]
        if alike:
            self.tasks[task.key] = alike[0]
            return
        if same:
            differing = ", ".join(_differing(same[0].task, task))
            self.notes.append(
                f"line {number}: task {task.key} again, with another {differing}: kept apart"
            )
        self._add(task)


_DECLARED: dict[str, type] = {"key": str, "target": dict, "machine": dict, "decisions": list}


def _configs(rows: list[list[int]], columns: int) -> IntArray:
    """Rows of integers as configs; what is no such row is another config than it would become."""
    odd = set(map(type, chain.from_iterable(rows))) - {int}
    if odd:
        raise ValueError(f"configs of {', '.join(sorted(kind.__name__ for kind in odd))}")
    # A sketch without decisions has rows of no columns, which no -1 can count.
    return np.array(rows, dtype=np.int64).reshape(len(rows), columns)


def _seconds(latency_s: float | None) -> float:
    """A latency as it is kept: finite and above 0, or infinite for a trial that failed."""
    if latency_s is None:
        return math.inf
    if type(latency_s) not in (int, float) or not 0 < float(latency_s) < math.inf:
        raise ValueError(f"a latency of {latency_s!r} seconds")
    return float(latency_s)


class _Lock:
    """Keeps other processes from writing to a file, as long as this object is there."""

    def __init__(self, path: Path) -> None:
        handle = path.open("ab")
        weakref.finalize(self, handle.close)
        if not try_lock(handle):
            raise ValueError(
                f"{path}: another process writes to this data set; wait for it, stop it, or use "
                "another file"
            )


_LOCKS: weakref.WeakValueDictionary[Path, _Lock] = weakref.WeakValueDictionary()


def _lock_of(path: Path) -> _Lock:
    """Lock a file for this process, in which several objects may write to it."""
    place = path.resolve()
    lock = _LOCKS.get(place)
    if lock is None:
        lock = _LOCKS[place] = _Lock(place)
    return lock


def read_datasets(
    paths: Sequence[str | Path], say: Callable[[str], None] = lambda text: None
) -> list[TaskTrials]:
    """Read the tasks of several files, those without trials left out.

    Trials of one task and machine are put together; those of another machine are a task of their
    own with the same key.

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
        for trials in file.parts:
            if len(trials):
                _merge(found, trials)
    return found


def _merge(found: list[TaskTrials], trials: TaskTrials) -> None:
    """Add trials to those of the same task and machine, or to the list."""
    for known in found:
        if known.task.key == trials.task.key and not _differing(known.task, trials.task):
            for sketch, (configs, latency_s) in enumerate(zip(trials.configs, trials.latency_s)):
                known.add(sketch, configs, latency_s)
            return
    found.append(trials)


def _plain(task: DatasetTask) -> dict[str, Any]:
    name, sizes, dtype = task.operator
    return {
        "key": task.key,
        "operator": {"name": name, "sizes": list(sizes), "dtype": dtype},
        "target": task.target,
        "space": task.space,
        "machine": task.machine,
        "decisions": [list(names) for names in task.decisions],
    }


def _differing(a: DatasetTask, b: DatasetTask) -> list[str]:
    """In what two declarations of a task differ. What one machine does not say is no difference.

    Nor are last sizes that one leaves out: they are their defaults, since the key is the same.
    """
    found = [] if _alike(a.operator, b.operator) else ["operator"]
    found += [] if a.decisions == b.decisions else ["decisions"]
    both = a.machine.keys() & b.machine.keys()
    if any(a.machine[name] != b.machine[name] for name in both):
        found.append("machine")
    return found


def _alike(a: tuple[str, tuple[int, ...], str], b: tuple[str, tuple[int, ...], str]) -> bool:
    named = min(len(a[1]), len(b[1]))
    return (a[0], a[1][:named], a[2]) == (b[0], b[1][:named], b[2])
