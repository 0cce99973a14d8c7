"""TLP: a model of schedule primitives, trained once and never while tuning.

It reads the instructions of a trace, not the program that they make, so that a prediction costs no
lowering; in exchange it knows no shapes but through the numbers of the instructions.

References
----------
Zhai et al., "TLP: A Deep Learning-Based Cost Model for Tensor Program Tuning", ASPLOS 2023;
parameters as in its repository.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..adapter import TVMCostModel
from .examples import Batch
from .instruction_tokens import KINDS, NUMBERS, WIDTH, InstructionTokens
from .ranking_model import OfflineModel, RankingNetwork, seeded
from .shipped import weights_path
from .train import TrainConfig

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch

_HIDDEN = 256
_HEADS = 8


@dataclass(frozen=True)
class TLPConfig:
    """Parameters of the model; the paper's by default.

    Parameters
    ----------
    published : bool
        Add up the scores of all rows, padding too, and compare labels of all tasks. Otherwise
        padding is masked and labels are compared within a task.
    train : TrainConfig
    """

    published: bool = False
    train: TrainConfig = field(default_factory=lambda: TrainConfig(batch=1024))

    def __post_init__(self) -> None:
        if self.published:
            object.__setattr__(self, "train", replace(self.train, by_task=False))


class TLPNetwork(RankingNetwork):
    """A score per instruction that has seen the others, added up.

    Parameters
    ----------
    masked : bool
        Whether padding is left out.
    """

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.masked = masked
        self.encoder = _stack((WIDTH, 64, 128, 256, _HIDDEN))
        self.attention = nn.MultiheadAttention(_HIDDEN, _HEADS, batch_first=True)
        self.residuals = nn.ModuleList(_stack((_HIDDEN, _HIDDEN)) for _ in range(2))
        self.decoder = nn.Sequential(_stack((_HIDDEN, 128, 64)), nn.Linear(64, 1))

    def forward(self, batch: Batch) -> torch.Tensor:
        """Score programs [n] of T rows of C columns: [n]."""
        real = batch.statements.any(dim=2) if self.masked else None
        hidden = self.encoder(batch.statements)
        # A trace without instructions has nothing but padding to look at.
        padding = None if real is None else ~(real | ~real.any(dim=1, keepdim=True))
        mixed, _ = self.attention(
            hidden, hidden, hidden, key_padding_mask=padding, need_weights=False
        )
        hidden = hidden + mixed
        for layer in self.residuals:
            hidden = hidden + layer(hidden)
        scores = self.decoder(hidden).squeeze(2)
        return (scores if real is None else scores * real).sum(dim=1)


def _stack(sizes: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU after each."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


class TLPModel(OfflineModel[TLPConfig]):
    """The network and its training; a `CostModel`. Parameters as of `TLP`."""

    name = "TLP"

    def __init__(self, config: TLPConfig | None = None, seed: int = 0) -> None:
        super().__init__(config or TLPConfig(), seed)

    def columns(self) -> dict[str, list[str]]:
        numbers = [f"number.{i}, below 0 as it is" for i in range(NUMBERS)]
        return {"instructions": [*("/".join(kinds) for kinds in KINDS), *numbers]}

    def reader(self, sketch: Sketch) -> InstructionTokens:
        return InstructionTokens.of(sketch)

    def make(self, generator: torch.Generator) -> TLPNetwork:
        return seeded(lambda: TLPNetwork(masked=not self.config.published), generator)


class TLP(TVMCostModel):
    """A model of schedule primitives, with any strategy and any space; it learns nothing.

    Parameters
    ----------
    pretrained : str or path
        What ``mschedx train --model tlp`` wrote.
    config : TLPConfig, optional
    """

    model: TLPModel

    def __init__(self, pretrained: str | Path, config: TLPConfig | None = None) -> None:
        model = TLPModel(config)
        model.load(weights_path(pretrained))
        super().__init__(model)
