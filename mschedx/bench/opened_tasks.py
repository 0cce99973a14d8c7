"""Tasks of data sets, their sketches opened again: what is learnt from, and tested on."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mschedx.cost.base import CostModel, Measured
from mschedx.record.dataset import TaskTrials
from mschedx.space.errors import NOT_SEARCHABLE
from mschedx.space.task import Task
from mschedx.workloads import Workload, find

from .collect import open_workload


@dataclass(frozen=True)
class OpenedTask:
    """A task of a data set with its sketches.

    Parameters
    ----------
    name : str
        Operator, sizes and dtype.
    workload : str
        Its name and kind of target: the same for a task in another space, or on another machine,
        whatever its target.
    task : Task
    measured : list of Measured
        One per sketch that has trials.
    """

    name: str
    workload: str
    task: Task
    measured: list[Measured]

    @property
    def kind(self) -> str:
        """Kind of its target."""
        return str(self.task.target.kind.name)

    @property
    def latency_s(self) -> np.ndarray:
        """Seconds of all trials [n], sketch after sketch; ``inf`` for one that failed."""
        return np.concatenate([one.latency_s for one in self.measured])

    @property
    def ran(self) -> int:
        """Trials that gave a latency."""
        return int(np.isfinite(self.latency_s).sum())

    def scores(self, model: CostModel) -> np.ndarray:
        """What a model says of all trials [n], sketch after sketch."""
        return model.score(self.task, [(one.sketch, one.configs) for one in self.measured])


def open_task(trials: TaskTrials) -> OpenedTask:
    """Open the sketches of a task again.

    Raises
    ------
    EmptySpace, InvalidSchedule, UnsupportedTrace
        When it has no space, or none with a valid config.
    ValueError
        When its space is another one now.
    """
    from tvm.target import Target

    declared = trials.task
    op, given, dtype = declared.operator
    # With defaults or without them it is one workload, which `split` keeps together.
    sizes = find(op).complete(given)
    name = f"{op} {'x'.join(map(str, sizes))} {dtype}"
    target = Target(declared.target)
    sketches = open_workload(Workload(name, op, sizes, dtype), target, declared.space)
    names = tuple(sketch.names for sketch in sketches)
    if names != declared.decisions:
        raise ValueError(
            f"{name}: expected a space of {len(declared.decisions)} sketches with the decisions "
            f"that were recorded, got {len(names)} that differ: the space has changed since; "
            "collect the data set again (`mschedx dataset`)"
        )
    measured = [
        Measured(sketch, configs, latency_s)
        for sketch, configs, latency_s in zip(sketches, trials.configs, trials.latency_s)
        if len(configs)
    ]
    # Latencies of two machines are never compared: there, one workload is two tasks.
    machine = zlib.crc32(json.dumps(declared.machine, sort_keys=True).encode())
    task = Task(f"{declared.key}@{machine:08x}", name, target)
    return OpenedTask(name, f"{name} {target.kind.name}", task, measured)


def split(
    tasks: Sequence[OpenedTask], share: float, rng: np.random.Generator
) -> tuple[list[OpenedTask], list[OpenedTask]]:
    """Put a share of the tasks aside, at least one of two or more unless the share is 0.

    A workload that was measured on several machines or in several spaces is put aside whole.
    """
    workloads = list(dict.fromkeys(task.workload for task in tasks))
    count = len(workloads)
    aside = 0 if share == 0 or count < 2 else max(1, round(share * count))
    order = rng.permutation(count)[: min(aside, count - 1)]
    chosen = {workloads[i] for i in order.tolist()}
    return (
        [task for task in tasks if task.workload not in chosen],
        [task for task in tasks if task.workload in chosen],
    )


def usable(trials: Sequence[TaskTrials], say: Callable[[str], None]) -> list[OpenedTask]:
    """Open the tasks that something can be learnt of.

    Parameters
    ----------
    trials : sequence of TaskTrials
    say : callable
        Told which are left out, and why.

    Raises
    ------
    ValueError
        When there are none, or they are of several kinds of target; as `open_task`.
    """
    opened = []
    for one in trials:
        try:
            task = open_task(one)
        except NOT_SEARCHABLE as error:
            op, sizes, dtype = one.task.operator
            say(f"{op} {'x'.join(map(str, sizes))} {dtype} is left out: {error}")
            continue
        if task.ran < 2:
            say(f"{task.name} is left out: {task.ran} of {len(one)} trials ran")
        else:
            opened.append(task)
    kinds = {task.kind for task in opened}
    if not opened:
        raise ValueError("expected tasks of which at least two trials ran, got none")
    if len(kinds) > 1:
        raise ValueError(
            f"expected data sets of one kind of target, got {', '.join(sorted(kinds))}: train a "
            "model for each"
        )
    return opened
