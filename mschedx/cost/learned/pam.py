"""PAM, Pruner's pattern-aware cost model: one network for all tasks, learning while they are tuned.

References
----------
Qiao et al., "Pruner", ASPLOS 2025, section 5; github qiaolian9/Pruner.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mschedx.ranges import require_counts
from mschedx.run_stages import TRAIN, stage

from ..adapter import TVMCostModel
from ..base import FloatArray, IntArray, Measured
from .examples import Batch, Examples
from .features import ACCESS_NAMES, STATEMENT_NAMES, ProgramFeatures
from .measured_programs import MeasuredPrograms
from .network import NetworkForm, ScaledNetwork, make_network
from .ranking_model import RankingModel, RankingNetwork
from .shipped import weights_path
from .train import TrainConfig, bounded_threads

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task


@dataclass(frozen=True)
class PAMConfig:
    """Parameters of the model.

    Parameters
    ----------
    published : bool
        As the paper's repository does it: its network, its eight accesses of a product's data
        flow, columns divided by their maxima, a new network after every round, labels of all tasks
        compared, training stopped after a third of its epochs, rounded down, without a gain.
        Otherwise the improved network, all accesses, columns standardised once, training continued,
        labels compared within a task. Ours stay in both forms: the columns of a statement and an
        access (the paper has 174 and 23, and with them 417,409 weights), and ``replay``, where the
        paper trains on all programs of all tasks.
    replay : int
        Programs to train on after a round: all of its task, and others to make up this number.
    train : TrainConfig
    """

    published: bool = False
    replay: int = 2048
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        require_counts(self, "replay", least=2)
        if self.published:
            epochs = self.train.epochs
            waits = max(1, math.floor(self.train.patience * epochs + 1e-9))
            train = replace(self.train, by_task=False, patience=waits / epochs)
            object.__setattr__(self, "train", train)


class PAMModel(RankingModel[PAMConfig]):
    """The network and what it learns from; a `CostModel`, also `Differentiable`.

    Training waits until a score is asked for.

    Parameters
    ----------
    config : PAMConfig, optional
    seed : int
        Of initial weights and of the order of training.
    """

    name = "PAM"

    def __init__(self, config: PAMConfig | None = None, seed: int = 0) -> None:
        super().__init__(config or PAMConfig(), seed)
        self._programs = MeasuredPrograms(self.reader)
        self._pending: list[str] = []

    def columns(self) -> dict[str, list[str]]:
        return {"statements": list(STATEMENT_NAMES), "accesses": list(ACCESS_NAMES)}

    def reader(self, sketch: Sketch) -> ProgramFeatures:
        return ProgramFeatures.of(sketch, published=self.config.published)

    def make(self, generator: torch.Generator) -> ScaledNetwork:
        return ScaledNetwork(make_network(NetworkForm(self.config.published), generator))

    def ready(self, task: Task) -> bool:
        self._check_kind(task)
        return self._pretrained or np.isfinite(self._programs.best_s(task.key))

    def learn(self, task: Task, measured: Sequence[Measured]) -> None:
        self._check_kind(task)
        if self._programs.note(task.key, measured) and task.key not in self._pending:
            self._pending.append(task.key)

    def score(self, task: Task, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        self._catch_up(task.key)
        return super().score(task, asked)

    def relaxed_score(self, task: Task, sketch: Sketch, configs: torch.Tensor) -> torch.Tensor:
        self._catch_up(task.key)
        if self.network is None:
            return configs.sum(dim=1) * 0 + 1
        self.network.eval()
        with bounded_threads(self.config.train.threads):
            batch = Batch.whole(*self.reader(sketch).relaxed(configs))
            return torch.nn.functional.softplus(self.network(batch).double(), threshold=40)

    def save(self, path: str) -> None:
        """Write the weights with their card, without the programs they were learnt from."""
        for key in list(self._pending):
            self._catch_up(key)
        super().save(path)

    def load(self, path: str | Path) -> None:
        """Read weights; what is measured from now on adds to them."""
        super().load(path)
        self._programs, self._pending = MeasuredPrograms(self.reader), []

    # Inside.

    def _catch_up(self, key: str) -> None:
        """Train on what has been measured of a task since it was last trained on."""
        if key not in self._pending:
            return
        examples = self._programs.examples()
        if len(examples) >= 2:
            # A copy learns: training that is cut short leaves the weights, and the trials pending.
            with stage(TRAIN):
                self.network = self._taught(self._thinned(examples, key))
            self._note_online(len(examples.tasks), len(examples))
        self._pending.remove(key)

    def _taught(self, examples: Examples) -> RankingNetwork:
        if self.network is None or self.config.published:
            return self._new(examples)[0]
        network = copy.deepcopy(self.network)
        self._fit(network, examples, warm=True)
        return network

    def _thinned(self, examples: Examples, task: str) -> Examples:
        return examples.thinned(task, self.config.replay, self._generator)


class PAM(TVMCostModel):
    """Pruner's learned model, with any strategy and any space.

    ``ms.tune_tir(..., cost_model=mschedx.cost.PAM())`` learns while it tunes; with ``pretrained``
    it is ready at once and goes on learning. One model serves all tasks of a run; new, it is ready
    for a task once something of that task has run, though the network may know others already.

    Parameters
    ----------
    config : PAMConfig, optional
    pretrained : str or path, optional
        A model that comes with the package, by name, or a file that `save` or ``mschedx train``
        wrote.
    seed : int
    """

    model: PAMModel

    def __init__(
        self,
        config: PAMConfig | None = None,
        pretrained: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        model = PAMModel(config, seed)
        if pretrained is not None:
            model.load(weights_path(pretrained))
        super().__init__(model)
