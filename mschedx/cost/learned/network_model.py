"""A network with its card and their file: what every model that has a network shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import torch
from torch import nn

from . import weights
from .shipped import refuse_weights

if TYPE_CHECKING:
    from mschedx.space.task import Task

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)


class NetworkModel(ABC, Generic[Config, Network]):
    """A network, what is known of it, and what is kept of both.

    Parameters
    ----------
    config : dataclass instance
        Where it has a ``published``, that says whether the network is as in the paper's repository.
    seed : int
        Of initial weights and of the order of training.

    Attributes
    ----------
    network : torch module or None
        None until it is trained or loaded.
    card : weights.Card
        What is known of the weights.
    """

    name: ClassVar[str]
    least_programs: ClassVar[int] = 1
    """From how many measured programs it learns."""

    def __init__(self, config: Config, seed: int = 0) -> None:
        refuse_weights(config)
        self.config = config
        self.network: Network | None = None
        published = getattr(config, "published", False)
        self.card = weights.Card(self.name, published, None, self.columns())
        self._generator = torch.Generator().manual_seed(seed)
        self._pretrained = False

    @abstractmethod
    def columns(self) -> dict[str, list[str]]:
        """What each input of the network is, by branch."""

    @abstractmethod
    def network_for(self, tensors: Mapping[str, torch.Tensor]) -> Network:
        """Make a network whose weights these may be."""

    def skill(self) -> float | None:
        """Pairwise accuracy on tasks that the weights have not seen; see `Card.skill`."""
        return self.card.skill() if self._pretrained else None

    def save(self, path: str) -> None:
        """Write the weights with their card, without the programs they were learnt from."""
        if self.network is None:
            raise ValueError(
                f"expected a {self.name} that has learnt from programs (>= {self.least_programs}), "
                "got a new one: there are no weights to write"
            )
        weights.write(path, self.network.state_dict(), self.card)

    def load(self, path: str | Path) -> None:
        """Read weights that `save` or ``mschedx train`` wrote."""
        tensors, card = weights.read(path, self.card)
        try:
            network = self.network_for(tensors)
            network.load_state_dict(tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path}: expected the weights of {self.name}: {error}") from error
        self.network, self.card, self._pretrained = network.eval(), card, True

    def _check_kind(self, task: Task) -> None:
        self.card = self.card.used_for(task)

    def _note_online(self, tasks: int, programs: int) -> None:
        """Say in the card what has been learnt from while tuning."""
        online = {"tasks": tasks, "programs": programs}
        self.card = replace(self.card, trained_on={**self.card.trained_on, "online": online})
