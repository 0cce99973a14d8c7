"""Train a cost model on data sets, and test it on tasks that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mschedx.record.dataset import TaskTrials, read_datasets
from mschedx.workloads import Workload

from .collect import open_workload

if TYPE_CHECKING:
    from mschedx.cost.learned.examples import Part
    from mschedx.cost.learned.pam import PAMModel

TOP = (1, 5)
"""k for which the best of the first k is reported."""


@dataclass(frozen=True)
class OpenedTask:
    """A task of a data set, its programs as a model reads them.

    Parameters
    ----------
    name : str
        Operator, sizes and dtype.
    kind : str
        Of its target.
    parts : list of Part
        One per sketch that has trials.
    """

    name: str
    kind: str
    parts: list[Part]

    @property
    def ran(self) -> int:
        """Trials that gave a latency."""
        return sum(int(np.isfinite(part.latency_s).sum()) for part in self.parts)


@dataclass(frozen=True)
class Ranking:
    """How a model ranks the trials of one held-out task, or of all of them.

    Parameters
    ----------
    name : str
    trials : int
    pairs : float
        Pairwise accuracy; the mean over tasks.
    correlation : float
        Spearman's; the mean over tasks.
    top_mean, top_sum : tuple of float
        Best of the first k of `TOP`, as a mean over tasks and as a ratio of sums; the same of one.
    """

    name: str
    trials: int
    pairs: float
    correlation: float
    top_mean: tuple[float, ...]
    top_sum: tuple[float, ...]


def pretrain(
    paths: Sequence[str | Path],
    output: str | Path,
    *,
    held_out: float = 0.2,
    epochs: int | None = None,
    published: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> list[Ranking]:
    """Train PAM, write its file and its card beside it as JSON.

    Parameters
    ----------
    paths : sequence of path
        Data sets, of one kind of target.
    output : path
    held_out : float
        Share of the tasks that are tested on, in [0, 1): none where that is 0 or there is one
        task, at least one otherwise. Which weights are kept is decided by some of the others.
    epochs : int, optional
    published : bool
        The paper's network, see `mschedx.cost.PAMConfig`.
    seed : int
    say : callable
        Told what goes on.

    Returns
    -------
    list of Ranking
        Of every held-out task, then of all together; empty when none was held out.

    Raises
    ------
    ValueError
        When nothing can be learnt from the data sets, or their spaces have changed.
    """
    from mschedx.cost.learned.examples import Examples
    from mschedx.cost.learned.pam import PAMConfig, PAMModel
    from mschedx.cost.learned.train import TrainConfig

    if not 0 <= held_out < 1:
        raise ValueError(f"expected a held-out share in [0, 1), got {held_out}")
    tasks = _usable(read_datasets(paths, say), say)
    rest, tests = split(tasks, held_out, np.random.default_rng(seed))
    train, validation = split(rest, held_out / 2, np.random.default_rng(seed + 1))
    for name, group in (("train", train), ("choose weights", validation), ("test", tests)):
        say(f"{len(group)} tasks to {name} on: {', '.join(task.name for task in group) or 'none'}")
    config = TrainConfig() if epochs is None else TrainConfig(epochs=epochs)
    model = PAMModel(PAMConfig(published=published, train=config), seed)
    course = model.train(
        Examples([part for task in train for part in task.parts]),
        Examples([part for task in validation for part in task.parts]) if validation else None,
        target_kind=tasks[0].kind,
    )
    say(f"{len(course.losses)} epochs, loss {course.losses[0]:.4g} to {course.losses[-1]:.4g}")
    tested = evaluate(model, tests) if tests else []
    metrics = _metrics(tested[-1]) if tested else {}
    files = [Path(path).name for path in paths]
    about = {**model.card.trained_on, "files": files}
    model.card = replace(model.card, metrics=metrics, trained_on=about)
    model.save(str(output))
    Path(f"{output}.json").write_text(json.dumps(asdict(model.card), indent=1) + "\n")
    return tested


def open_task(trials: TaskTrials) -> OpenedTask:
    """Open the sketches of a task again and read its programs.

    Raises
    ------
    ValueError
        When its space is another one now.
    """
    from tvm.target import Target

    from mschedx.cost.learned.examples import Part
    from mschedx.cost.learned.features import ProgramFeatures

    task = trials.task
    op, sizes, dtype = task.operator
    name = f"{op} {'x'.join(map(str, sizes))} {dtype}"
    target = Target(task.target)
    sketches = open_workload(Workload(name, op, sizes, dtype), target, task.space)
    names = tuple(sketch.names for sketch in sketches)
    if names != task.decisions:
        raise ValueError(
            f"{name}: expected a space of {len(task.decisions)} sketches with the decisions that "
            f"were recorded, got {len(names)} that differ: the space has changed since; collect "
            "the data set again (`mschedx dataset`)"
        )
    parts = [
        Part(task.key, ProgramFeatures.of(sketch)(configs), latency_s)
        for sketch, configs, latency_s in zip(sketches, trials.configs, trials.latency_s)
        if len(configs)
    ]
    return OpenedTask(name, str(target.kind.name), parts)


def split(
    tasks: Sequence[OpenedTask], share: float, rng: np.random.Generator
) -> tuple[list[OpenedTask], list[OpenedTask]]:
    """Put a share of the tasks aside, at least one of two or more unless the share is 0."""
    aside = 0 if share == 0 or len(tasks) < 2 else max(1, round(share * len(tasks)))
    chosen = set(rng.permutation(len(tasks))[: min(aside, len(tasks) - 1)].tolist())
    return (
        [task for i, task in enumerate(tasks) if i not in chosen],
        [task for i, task in enumerate(tasks) if i in chosen],
    )


def evaluate(model: PAMModel, tasks: Sequence[OpenedTask]) -> list[Ranking]:
    """Test a model on every task, then on all together."""
    from mschedx.cost.learned import metrics

    ranked = []
    for task in tasks:
        latency_s = np.concatenate([part.latency_s for part in task.parts])
        scores = np.concatenate([model.score_programs(part.programs) for part in task.parts])
        ranked.append((latency_s, scores))

    def ranking(name: str, chosen: list[metrics.Ranked]) -> Ranking:
        return Ranking(
            name,
            sum(len(latency_s) for latency_s, _ in chosen),
            float(np.mean([metrics.pairwise_accuracy(*one) for one in chosen])),
            float(np.mean([metrics.rank_correlation(*one) for one in chosen])),
            tuple(metrics.top_k_mean(chosen, k) for k in TOP),
            tuple(metrics.top_k_sum(chosen, k) for k in TOP),
        )

    single = [ranking(task.name, [one]) for task, one in zip(tasks, ranked)]
    return [*single, ranking("all", ranked)]


def _usable(trials: Sequence[TaskTrials], say: Callable[[str], None]) -> list[OpenedTask]:
    """Open the tasks that something can be learnt of."""
    opened = []
    for one in trials:
        task = open_task(one)
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


def _metrics(overall: Ranking) -> dict[str, float]:
    found = {"pairwise accuracy": overall.pairs, "rank correlation": overall.correlation}
    for k, mean, total in zip(TOP, overall.top_mean, overall.top_sum):
        found |= {f"top-{k} (mean of tasks)": mean, f"top-{k} (ratio of sums)": total}
    return {name: value for name, value in found.items() if np.isfinite(value)}
