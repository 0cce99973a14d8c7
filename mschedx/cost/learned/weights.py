"""Files of learned models: tensors, and a card that says what they are.

The card is JSON in the file's own header, so that the two cannot be parted. Nothing in a file is
ever run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mschedx.files import whole

from ..base import PRETRAINED_ACCURACY
from .shipped import ACCURACY, FORMAT, card_of

if TYPE_CHECKING:
    from mschedx.space.task import Task


@dataclass(frozen=True)
class Card:
    """What a file of weights holds.

    Parameters
    ----------
    model : str
        The class that wrote it.
    published : bool
        The form of the network.
    target_kind : str or None
        Kind of the targets whose programs it was trained on, such as "llvm"; None when not known.
    columns : dict of str to list of str
        What each input is, by branch.
    trained_on : dict
        How many tasks and programs; of the data sets, the files, the machines with their versions,
        the processors (``mcpu`` of the targets), and how many tasks in which space. What was not
        recorded says so.
    metrics : dict of str to float
        On tasks that were held out or are from elsewhere.
    metrics_from : str
        What these tasks are; empty where there are no metrics.
    licence : str
        Of the weights.
    format : int
    """

    model: str
    published: bool
    target_kind: str | None
    columns: dict[str, list[str]]
    trained_on: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    metrics_from: str = ""
    licence: str = "Apache-2.0"
    format: int = FORMAT

    def skill(self) -> float:
        """Pairwise accuracy on tasks that the weights have not seen, as far as that is known."""
        return self.metrics.get(ACCURACY, PRETRAINED_ACCURACY)

    def used_for(self, task: Task) -> Card:
        """Return the card of weights that a task is scored with or learnt from.

        Raises
        ------
        ValueError
            When the task's kind of target is another than that of the tasks before.
        """
        if task.target is None:
            return self
        kind = task.target.kind.name
        if kind != (self.target_kind or kind):
            raise ValueError(
                f"expected tasks for {self.target_kind}, for which this {self.model} was made, "
                f"got {task.name} for {kind}: use a model for each kind of target"
            )
        return replace(self, target_kind=kind)


def write(path: str | Path, tensors: Mapping[str, torch.Tensor], card: Card) -> None:
    """Write weights with their card.

    Raises
    ------
    OSError
        If there is no such folder, or no room; what lay there is as it was.
    """
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    about = {"card": json.dumps(asdict(card), allow_nan=False)}
    try:
        with whole(Path(path)) as beside:
            save_file(plain, str(beside), metadata=about)
    except (OSError, SafetensorError) as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def read(path: str | Path, expected: Card) -> tuple[dict[str, torch.Tensor], Card]:
    """Read weights written for a model as ``expected`` says.

    Raises
    ------
    FileNotFoundError
    ValueError
        When the file is not one of `write`, or of another format, model, form or list of columns.
        The kind of target is compared only if ``expected`` names one.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: expected a file written by {expected.model}.save")
    try:
        with safe_open(str(path), framework="pt") as file:
            card = Card(**card_of(file.metadata()))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected a file written by {expected.model}.save: {error!r}"
        ) from error
    _compare(path, card, expected)
    return tensors, card


def _compare(path: str | Path, card: Card, expected: Card) -> None:
    for name in ("format", "model", "published", "target_kind"):
        found, wanted = getattr(card, name), getattr(expected, name)
        if wanted is not None and found != wanted:
            raise ValueError(
                f"{path}: expected {name} {wanted!r}, got {found!r}; train a model with this "
                "version and for this target (`mschedx train`)"
            )
    for branch, names in expected.columns.items():
        own = card.columns.get(branch, [])
        if own != names:
            other = sorted(set(own) ^ set(names))[:3] or "another order"
            raise ValueError(
                f"{path}: expected {len(names)} columns of {branch}, got {len(own)} that differ "
                f"in {other}; it was trained with another list of features: train it again "
                "(`mschedx train`)"
            )
