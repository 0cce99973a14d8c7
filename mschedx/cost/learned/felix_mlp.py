"""FelixMLP: a learned cost model with gradients in the decisions.

One ensemble serves all tasks of a run and learns while they are tuned. Scores are pessimistic, the
mean of the networks less their deviation, so that following gradients does not lead to where there
is no data and one network happens to promise much.

References
----------
Zhao et al., "Felix: Optimizing Tensor Programs with Gradient Descent", ASPLOS 2024.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mschedx.ranges import require_count
from mschedx.run_stages import TRAIN, stage

from ..adapter import TVMCostModel
from ..base import FloatArray, IntArray, Measured
from .felix_features import NAMES, FelixFeatures
from .felix_network import MOST_PROGRAMS, Ensemble, FelixConfig, Programs, fit, labels_of
from .network_model import NetworkModel
from .shipped import weights_path
from .train import bounded_threads

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task

WIDTH = 0.25
"""Of the smoothings of a relaxed score where no other is asked for."""


class FelixMLPModel(NetworkModel[FelixConfig, Ensemble]):
    """The ensemble and what it learns from; a `CostModel`, also `Differentiable` and `Annealable`.

    Training waits until a score is asked for. Scores are predictions of ``ln(1 / latency)``, less
    ``pessimism`` deviations: it is `Logarithmic`, too.

    Parameters
    ----------
    config : FelixConfig, optional
    seed : int
        Of initial weights and of the order of training.
    """

    name = "FelixMLP"
    logarithmic = 1.0

    def __init__(self, config: FelixConfig | None = None, seed: int = 0) -> None:
        super().__init__(config or FelixConfig(), seed)
        self._programs: dict[str, list[Programs]] = {}
        self._pending: dict[str, None] = {}

    def columns(self) -> dict[str, list[str]]:
        return {"statements": list(NAMES)}

    def network_for(self, tensors: Mapping[str, torch.Tensor]) -> Ensemble:
        members, width, _ = tensors["last.weight"].shape
        return Ensemble(members, len(NAMES), width, torch.Generator())

    def ready(self, task: Task) -> bool:
        self._check_kind(task)
        return self._pretrained or task.key in self._programs

    def learn(self, task: Task, measured: Sequence[Measured]) -> None:
        self._check_kind(task)
        found = self._read(task, measured)
        if found:
            self._programs[task.key] = found
            self._pending[task.key] = None

    def score(self, task: Task, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        return self._predicted(task, asked, self.config.pessimism)

    def latency_s(self, task: Task, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        """Predict latencies [Σ n_i] in seconds, without pessimism."""
        return np.exp(-self._predicted(task, asked, 0.0))

    def relaxed_score(self, task: Task, sketch: Sketch, configs: torch.Tensor) -> torch.Tensor:
        return self.annealed_score(task, sketch, configs, WIDTH)

    def annealed_score(
        self, task: Task, sketch: Sketch, configs: torch.Tensor, width: float
    ) -> torch.Tensor:
        network = self._trained(task)
        statements = FelixFeatures.of(sketch).relaxed(configs, width)
        return _scored(network, statements, self.config.pessimism).double()

    def pretrain(
        self,
        tasks: Sequence[tuple[Task, Sequence[Measured]]],
        steps: int | None = None,
        epochs: int | None = None,
    ) -> float:
        """Train new networks on trials of many tasks, before any tuning.

        Where that fails or is interrupted, the model is what it was.

        Parameters
        ----------
        tasks : sequence of (Task, sequence of Measured)
            For one kind of target. Those of which nothing ran are left out.
        steps : int, optional
            How long to train; by the number of programs when None.
        epochs : int, optional
            Passes over the data, >= 1, but no fewer steps than the configuration's; the
            configuration's when None.

        Returns
        -------
        float
            Mean squared error at the end of training, natural-log units squared.

        Raises
        ------
        ValueError
            When nothing ran of any task, their targets are of several kinds, or the loss is not
            finite.
        """
        card = replace(self.card, target_kind=None)
        for task, _ in tasks:
            card = card.used_for(task)
        parts = [part for task, measured in tasks for part in self._read(task, measured)]
        if not parts:
            raise ValueError(
                f"expected trials that ran, got {len(tasks)} tasks of which none has any"
            )
        epochs = require_count("epochs", self.config.epochs if epochs is None else epochs)
        network = self._new(parts)
        count = sum(len(part.labels) for part in parts)
        error = fit(
            network,
            parts,
            self.config,
            self._generator,
            rate=self.config.learning_rate,
            steps=steps or max(self.config.steps, math.ceil(epochs * count / self.config.batch)),
        )
        trained_on = {"tasks": len({part.task for part in parts}), "programs": count}
        self.network, self._pretrained = network, True
        self.card = replace(card, trained_on=trained_on)
        return error

    def save(self, path: str) -> None:
        """Write the weights with their card, without the programs they were learnt from."""
        for key in list(self._pending):
            self._catch_up(key)
        super().save(path)

    def load(self, path: str | Path) -> None:
        """Read weights; what is measured from now on adds to them."""
        super().load(path)
        self._programs, self._pending = {}, {}

    # Inside.

    def _read(self, task: Task, measured: Sequence[Measured]) -> list[Programs]:
        """Trials with their features; none of a task of which nothing ran."""
        every = np.concatenate([*(part.latency_s for part in measured), np.empty(0)])
        ran = every[np.isfinite(every)]
        if not len(ran):
            return []
        return [
            Programs(
                task.key,
                torch.from_numpy(FelixFeatures.of(part.sketch)(part.configs)).float(),
                labels_of(part.latency_s, ran.max(), self.config.failure_margin),
            )
            for part in measured
            if len(part.configs)
        ]

    def _trained(self, task: Task) -> Ensemble:
        self._catch_up(task.key)
        if self.network is None:
            raise ValueError(
                f"expected a FelixMLP that is ready for task {task.name}, got one that has learnt "
                "nothing: measure something first, or load weights"
            )
        return self.network

    def _catch_up(self, key: str) -> None:
        """Train on what has been measured of a task since it was last trained on."""
        if key not in self._pending:
            return
        parts = self._thinned(key)
        config = self.config
        # A copy learns: training that is cut short leaves the weights, and the trials pending.
        if self.network is None:
            network, steps = self._new(parts), config.steps
        else:
            network, steps = copy.deepcopy(self.network), config.later_steps
        rate = config.fine_tuning_rate if self._pretrained else config.learning_rate
        with stage(TRAIN):
            fit(network, parts, config, self._generator, rate=rate, steps=steps)
        self.network = network
        programs = sum(len(part.labels) for some in self._programs.values() for part in some)
        self._note_online(len(self._programs), programs)
        del self._pending[key]

    def _new(self, parts: Sequence[Programs]) -> Ensemble:
        config = self.config
        network = Ensemble(config.members, len(NAMES), config.width, self._generator)
        network.offset.copy_(torch.cat([part.labels for part in parts]).mean())
        return network

    def _thinned(self, key: str) -> list[Programs]:
        """All programs of a task, and some of each other one."""
        own = self._programs[key]
        others = [part for k, some in self._programs.items() if k != key for part in some]
        room = self.config.replay - sum(len(part.labels) for part in own)
        total = sum(len(part.labels) for part in others)
        if room >= total:
            return [*own, *others]
        kept = []
        for part in others:
            share = max(room, 0) * len(part.labels) // total
            which = torch.randperm(len(part.labels), generator=self._generator)[:share]
            if share:
                kept.append(Programs(part.task, part.statements[which], part.labels[which]))
        return [*own, *kept]

    def _predicted(
        self, task: Task, asked: Sequence[tuple[Sketch, IntArray]], pessimism: float
    ) -> FloatArray:
        network = self._trained(task)
        found = [np.empty(0)]
        with torch.no_grad(), bounded_threads(self.config.threads):
            for sketch, configs in asked:
                for start in range(0, len(configs), MOST_PROGRAMS):
                    rows = FelixFeatures.of(sketch)(configs[start : start + MOST_PROGRAMS])
                    scores = _scored(network, torch.from_numpy(rows), pessimism)
                    found.append(scores.double().numpy())
        return np.concatenate(found)


def _scored(network: Ensemble, statements: torch.Tensor, pessimism: float) -> torch.Tensor:
    real = statements.new_ones(statements.shape[:2]).float()
    return network.score(statements.float(), real, pessimism)


class FelixMLP(TVMCostModel):
    """Felix's learned model, with any strategy and any space.

    ``ms.tune_tir(..., cost_model=mschedx.cost.FelixMLP())`` learns while it tunes; with
    ``pretrained`` it is ready at once and is tuned finely. With `mschedx.GradientDescent` its
    gradients lead the search.

    Parameters
    ----------
    config : FelixConfig, optional
        Beside ``pretrained``, its ``members`` and ``width`` are not looked at: networks are the
        file's.
    pretrained : str or path, optional
        A file that ``save`` or ``mschedx train --model felix`` wrote.
    seed : int
        Of initial weights and of the order of training.
    """

    model: FelixMLPModel

    def __init__(
        self,
        config: FelixConfig | None = None,
        pretrained: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        model = FelixMLPModel(config, seed)
        if pretrained is not None:
            model.load(weights_path(pretrained))
        super().__init__(model)
