"""One-Shot Tuner: a model that is trained once on many tasks, and tunes without measuring.

Its input is one row a program, so that its attention looks at nothing but itself: it is a deep
residual network in effect. What it needs are good training data: shapes like those of real
networks, configs among which fast ones are not rare. With `mschedx.rank` or ``tune(trials=0)``
nothing is measured at all.

References
----------
Ryu et al., "One-Shot Tuner for Deep Learning Compilers", CC 2022; parameters as in its repository.
Configs that cannot run, to which the paper gives a score of their own, do not occur here: spaces
hold valid configs only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..adapter import TVMCostModel
from .examples import Batch, Examples
from .losses import squared_error
from .ranking_model import OfflineModel, RankingNetwork, seeded
from .scaling import Scaling
from .shipped import weights_path
from .touch_curves import NAMES, TouchCurves
from .train import TrainConfig

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch

_LAYERS, _HEADS, _FEEDFORWARD, _DROPOUT = 3, 4, 1024, 0.25


def _training() -> TrainConfig:
    return TrainConfig(
        learning_rate=1e-4,
        weight_decay=2e-4,
        batch=4096,
        epochs=200,
        patience=1.0,
        cosine=True,
        balanced=True,
    )


@dataclass(frozen=True)
class OneShotConfig:
    """Parameters of the model; the paper's by default.

    Parameters
    ----------
    published : bool
        Columns as they are. Otherwise they are standardised once.
    train : TrainConfig
    """

    published: bool = False
    train: TrainConfig = field(default_factory=_training)


class OneShotNetwork(RankingNetwork):
    """Three encoder layers of a transformer over one row, and a number."""

    def __init__(self, scaled: bool) -> None:
        super().__init__()
        self.scaled = scaled
        self.scaling = Scaling(len(NAMES))
        layer = nn.TransformerEncoderLayer(
            len(NAMES), _HEADS, _FEEDFORWARD, _DROPOUT, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.score = nn.Linear(len(NAMES), 1)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Score programs [n] of one row of 748 columns: [n], a share of the best in training."""
        return self.score(self.encoder(self.scaling(batch.statements))).flatten()

    def scale_to(self, examples: Examples) -> None:
        if self.scaled and len(examples):
            self.scaling.standardise(examples.statement_rows())


class OneShotModel(OfflineModel[OneShotConfig]):
    """The network and its training; a `CostModel`. Parameters as of `OneShotTuner`."""

    name = "OneShotTuner"

    def __init__(self, config: OneShotConfig | None = None, seed: int = 0) -> None:
        super().__init__(config or OneShotConfig(), seed)

    @staticmethod
    def loss(
        scores: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor | None
    ) -> torch.Tensor:
        return squared_error(scores, labels, groups)

    def columns(self) -> dict[str, list[str]]:
        return {"program": list(NAMES)}

    def reader(self, sketch: Sketch) -> TouchCurves:
        return TouchCurves.of(sketch)

    def make(self, generator: torch.Generator) -> OneShotNetwork:
        return seeded(lambda: OneShotNetwork(scaled=not self.config.published), generator)


class OneShotTuner(TVMCostModel):
    """A model trained once, with any strategy and any space; it learns nothing.

    Parameters
    ----------
    pretrained : str or path
        What ``mschedx train --model one-shot`` wrote.
    config : OneShotConfig, optional
    """

    model: OneShotModel

    def __init__(self, pretrained: str | Path, config: OneShotConfig | None = None) -> None:
        model = OneShotModel(config)
        model.load(weights_path(pretrained))
        super().__init__(model)
