"""Train a cost model on data sets, and test it on tasks that it has not seen."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mschedx.cost.learned.shipped import weights_path
from mschedx.files import require_writable, whole, write_atomic, written_before
from mschedx.inputs import check_seed
from mschedx.record.dataset import TaskTrials, read_datasets

from .opened_tasks import OpenedTask, split, usable
from .pretrain_metrics import Ranking, card_metrics, evaluate

if TYPE_CHECKING:
    from mschedx.cost.learned.felix_mlp import FelixMLPModel
    from mschedx.cost.learned.one_shot import OneShotModel
    from mschedx.cost.learned.pam import PAMModel
    from mschedx.cost.learned.tlp import TLPModel

    Pretrained = PAMModel | TLPModel | OneShotModel | FelixMLPModel

MODELS = ("pam", "tlp", "one-shot", "felix")
"""What can be trained."""


def pretrain(
    paths: Sequence[str | Path],
    output: str | Path,
    *,
    model: str = "pam",
    held_out: float = 0.2,
    accuracy: float | None = None,
    epochs: int | None = None,
    published: bool = False,
    start: str | Path | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
    show: Callable[[list[Ranking]], None] = lambda tested: None,
) -> list[Ranking]:
    """Train a model, write its file and its card beside it as JSON.

    Parameters
    ----------
    paths : sequence of path
        Data sets, of one kind of target.
    output : path
    model : str
        One of `MODELS`.
    held_out : float
        Share of the tasks that are tested on, in [0, 1): none where that is 0 or there is one
        task, at least one otherwise. Which weights are kept is decided by some of the others.
    accuracy : float, optional
        Pairwise accuracy that is known from elsewhere, such as a cross-validation, in [0, 1]: for
        the card of a model that nothing is held out from.
    epochs : int, optional
        Passes over the data; the model's own when None.
    published : bool
        The network as its paper has it, see `mschedx.cost.PAMConfig`.
    start : str or path, optional
        Weights to go on from, such as those of another processor: a file, or the name of a model
        that comes with the package. New ones when None; felix has no others.
    seed : int
    say : callable
        Told what goes on.
    show : callable
        Given what is returned once the files are written, or cannot be.

    Returns
    -------
    list of Ranking
        Of every held-out task, then of all together; empty when none was held out.

    Raises
    ------
    ValueError
        When nothing can be learnt from the data sets, or their spaces have changed.
    OSError
        When the output cannot be written, which is tried before anything is trained.
    """
    check_seed(seed)
    if not 0 <= held_out < 1:
        raise ValueError(f"expected a held-out share in [0, 1), got {held_out}")
    if accuracy is not None and not (held_out == 0 and 0 <= accuracy <= 1):
        raise ValueError(
            f"expected an accuracy in [0, 1] beside held_out=0, got {accuracy} and {held_out}"
        )
    made = new_model(model, epochs=epochs, published=published, seed=seed)
    begun = {} if start is None else _begun_from(made, start)
    _require_place(Path(output))
    read = read_datasets(paths, say)
    tasks = usable(read, say)
    rest, tests = split(tasks, held_out, np.random.default_rng(seed))
    train, validation = split(rest, held_out / 2, np.random.default_rng(seed + 1))
    groups = {"train": train, "choose weights": validation, "test": tests}
    if model == "felix":  # it keeps its last weights
        groups = {"train": [*train, *validation], "test": tests}
    for name, group in groups.items():
        count = "1 task" if len(group) == 1 else f"{len(group)} tasks"
        say(f"{count} to {name} on: {', '.join(task.name for task in group) or 'none'}")
    say(fitted(made, train, validation))
    tested = evaluate(made, tests) if tests else []
    metrics = card_metrics(tested[-1]) if tested else {}
    if accuracy is not None:
        metrics = {"pairwise accuracy": accuracy}
    made.card = replace(
        made.card,
        metrics=metrics,
        metrics_from=_metrics_from(tests, accuracy),
        trained_on={**made.card.trained_on, **_origin(paths, read), **begun},
    )
    with written_before(lambda: _save(made, Path(output))):
        show(tested)
    return tested


def _begun_from(model: Pretrained, start: str | Path) -> dict[str, Any]:
    """Load the weights that a model goes on from; what its card says of them."""
    from mschedx.cost.learned.ranking_model import RankingModel

    if not isinstance(model, RankingModel):
        raise ValueError("expected felix without a start: its networks are always new")
    path = weights_path(start)
    model.load(path)
    return {"begun from": {"weights": path.name, **model.card.trained_on}}


def _metrics_from(tests: Sequence[OpenedTask], accuracy: float | None) -> str:
    if accuracy is not None:
        return "given by whoever trained it"
    return f"{len(tests)} of the tasks of these files, held out" if tests else ""


def _origin(paths: Sequence[str | Path], read: Sequence[TaskTrials]) -> dict[str, Any]:
    """Where trials are from: files, machines and versions, processors, tasks by space."""
    machines: list[dict[str, Any]] = []
    for one in read:
        if one.task.machine not in machines:
            machines.append(one.task.machine)
    processors = {str(one.task.target["mcpu"]) for one in read if "mcpu" in one.task.target}
    return {
        "files": [Path(path).name for path in paths],
        "machines": machines,
        "processors": sorted(processors),
        "spaces": dict(Counter(one.task.space or "mschedx" for one in read)),
    }


def _require_place(output: Path) -> None:
    if output.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))
    require_writable(output.parent)


def _save(model: Pretrained, output: Path) -> None:
    """Write weights and their card; what lay there stays until the new ones are whole."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with whole(output) as beside:
        model.save(str(beside))
    write_atomic(Path(f"{output}.json"), json.dumps(asdict(model.card), indent=1) + "\n")


def new_model(name: str, *, epochs: int | None, published: bool, seed: int) -> Pretrained:
    """Make an untrained model of `MODELS`.

    Raises
    ------
    ValueError
        For another name, or parameters that the model does not have.
    """
    from mschedx.cost.learned.felix_mlp import FelixMLPModel
    from mschedx.cost.learned.felix_network import FelixConfig
    from mschedx.cost.learned.one_shot import OneShotConfig, OneShotModel
    from mschedx.cost.learned.pam import PAMConfig, PAMModel
    from mschedx.cost.learned.tlp import TLPConfig, TLPModel

    if name == "felix":
        if published:
            raise ValueError("expected felix without published: it has one form")
        return FelixMLPModel(FelixConfig() if epochs is None else FelixConfig(epochs=epochs), seed)
    classes = {
        "pam": (PAMModel, PAMConfig),
        "tlp": (TLPModel, TLPConfig),
        "one-shot": (OneShotModel, OneShotConfig),
    }
    if name not in classes:
        raise ValueError(f"expected a model of {', '.join(MODELS)}, got {name!r}")
    model, settings = classes[name]
    config = settings(published=published)
    if epochs is not None:
        train = replace(config.train, epochs=epochs, warm_epochs=epochs)
        config = replace(config, train=train)
    return model(config, seed)


def fitted(
    model: Pretrained, train: Sequence[OpenedTask], validation: Sequence[OpenedTask] = ()
) -> str:
    """Train a model on tasks, some of which decide which weights are kept; say how it went."""
    from mschedx.cost.learned.ranking_model import RankingModel

    pairs = [(task.task, task.measured) for task in train]
    others = [(task.task, task.measured) for task in validation]
    if not isinstance(model, RankingModel):
        error = model.pretrain([*pairs, *others])
        return f"mean squared error {error:.4g} of ln(latency)"
    course = model.train(
        model.examples_of(pairs),
        model.examples_of(others) if others else None,
        target_kind=train[0].kind,
    )
    return f"{len(course.losses)} epochs, loss {course.losses[0]:.4g} to {course.losses[-1]:.4g}"
