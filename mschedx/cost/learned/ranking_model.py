"""A network that scores programs, trained before tuning: what PAM, TLP and One-Shot Tuner share.

A model says how it reads the programs of a sketch, what network it has and what training
minimises. `PAMModel` learns while tuning as well; an `OfflineModel` never does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from ..base import FloatArray, IntArray, Measured
from .examples import Batch, Examples, Part
from .features import ProgramArrays
from .losses import lambda_rank
from .network_model import NetworkModel
from .train import Course, TrainConfig, drawn_from, fit, predict

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task

Module = TypeVar("Module", bound=nn.Module)

Reader = Callable[[IntArray], ProgramArrays]
"""The programs of a sketch's configs [n, D]."""

_PIECE = 1024
"""Programs scored at a time."""

_LEAST = -700.0
"""Logit below which a float64 could not tell its score from 0."""


class RankingNetwork(nn.Module):
    """A network that scores a `Batch` of n programs [n], higher is better."""

    def scale_to(self, examples: Examples) -> None:
        """Take the scaling of its inputs from these programs, where it has one."""


class ModelConfig(Protocol):
    """What every model's parameters hold."""

    @property
    def published(self) -> bool:
        """Whether it is as in the paper's repository."""
        ...

    @property
    def train(self) -> TrainConfig: ...


Config = TypeVar("Config", bound=ModelConfig)


class RankingModel(NetworkModel[Config, RankingNetwork]):
    """A network and its training; most of a `CostModel`.

    Parameters
    ----------
    config : ModelConfig
    seed : int
        Of initial weights and of the order of training.
    """

    least_programs = 2

    @staticmethod
    def loss(
        scores: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor | None
    ) -> torch.Tensor:
        """What training minimises, see `losses`."""
        return lambda_rank(scores, labels, groups)

    @abstractmethod
    def reader(self, sketch: Sketch) -> Reader:
        """Return how the programs of a sketch are read."""

    @abstractmethod
    def make(self, generator: torch.Generator) -> RankingNetwork:
        """Make a network whose initial weights come from ``generator`` alone."""

    def network_for(self, tensors: Mapping[str, torch.Tensor]) -> RankingNetwork:
        del tensors
        return self.make(torch.Generator().manual_seed(0))

    def score(self, task: Task, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        del task
        if self.network is None:
            # Of a single program there is no order to learn.
            return np.ones(sum(len(configs) for _, configs in asked))
        found = [self._scores(self.network, sketch, configs) for sketch, configs in asked]
        return np.concatenate([*found, np.empty(0)])

    def examples_of(self, tasks: Sequence[tuple[Task, Sequence[Measured]]]) -> Examples:
        """Read measured trials of tasks as this model sees them."""
        return Examples([
            Part(task.key, self.reader(one.sketch)(one.configs), one.latency_s)
            for task, measured in tasks
            for one in measured
            if len(one.configs)
        ])  # fmt: skip

    def train(
        self, examples: Examples, held_out: Examples | None = None, *, target_kind: str | None
    ) -> Course:
        """Train on measured programs of many tasks, before any tuning.

        Weights that were loaded are gone on from, with as many passes as after a round
        (`TrainConfig.warm_epochs`).

        Parameters
        ----------
        examples, held_out : Examples
            Of different tasks.
        target_kind : str or None
            Kind of the tasks' targets.
        """
        if self.network is None:
            self.network, course = self._new(examples, held_out)
        else:
            course = self._fit(self.network, examples, warm=True, held_out=held_out)
        self._pretrained = True
        trained_on = {"tasks": len(examples.tasks), "programs": len(examples)}
        self.card = replace(self.card, target_kind=target_kind, trained_on=trained_on)
        return course

    # Inside.

    def _new(
        self, examples: Examples, held_out: Examples | None = None
    ) -> tuple[RankingNetwork, Course]:
        network = self.make(self._generator)
        network.scale_to(examples)
        return network, self._fit(network, examples, held_out=held_out)

    def _fit(
        self,
        network: RankingNetwork,
        examples: Examples,
        *,
        warm: bool = False,
        held_out: Examples | None = None,
    ) -> Course:
        config = self.config.train
        return fit(
            network, examples, self.loss, config, self._generator, warm=warm, held_out=held_out
        )

    def _scores(self, network: RankingNetwork, sketch: Sketch, configs: IntArray) -> FloatArray:
        read = self.reader(sketch)
        pieces = [configs[i : i + _PIECE] for i in range(0, len(configs), _PIECE)]
        found = [self._logits(network, read(piece)) for piece in pieces]
        return positive(self._checked(np.concatenate([*found, np.empty(0)])))

    def _logits(self, network: RankingNetwork, programs: ProgramArrays) -> FloatArray:
        return predict(network, Batch.of([programs]), self.config.train).double().numpy()

    def _checked(self, logits: FloatArray) -> FloatArray:
        bad = int(np.isnan(logits).sum())
        if bad:
            raise ValueError(
                f"{self.card.model} predicted nan for {bad} of {len(logits)} programs: its weights "
                "are damaged; load them again, or start without"
            )
        return logits


class OfflineModel(RankingModel[Config]):
    """A model that is trained once and learns nothing while tuning; a `CostModel`."""

    def ready(self, task: Task) -> bool:
        self._check_kind(task)
        return self._pretrained

    def learn(self, task: Task, measured: Sequence[Measured]) -> None:
        """Ignore what was measured: that is what the paper is about."""
        del measured
        self._check_kind(task)


def positive(logits: FloatArray) -> FloatArray:
    """``ln(1 + e^x)`` [n]: in the order of the logits, and above 0 as shares of a wheel must be."""
    return np.logaddexp(0.0, np.maximum(logits, _LEAST))


def seeded(make: Callable[[], Module], generator: torch.Generator) -> Module:
    """Make a network with PyTorch's own initial weights, drawn from ``generator`` alone."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    with drawn_from(seed):
        return make()
