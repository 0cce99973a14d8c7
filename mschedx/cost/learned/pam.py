"""PAM, Pruner's pattern-aware cost model: one network for all tasks, learning while they are tuned.

References
----------
Qiao et al., "Pruner", ASPLOS 2025, section 5; github qiaolian9/Pruner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..adapter import TVMCostModel
from ..base import FloatArray, IntArray, Measured
from . import weights
from .examples import Batch, Examples
from .features import ACCESS_NAMES, STATEMENT_NAMES, ProgramArrays, ProgramFeatures
from .losses import lambda_rank
from .network import NetworkForm, ScaledNetwork, make_network
from .replay import Replay
from .shipped import weights_path
from .train import Course, TrainConfig, bounded_threads, fit, predict

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task

_PIECE = 1024
"""Programs scored at a time."""

_LEAST = -700.0
"""Logit below which a float64 could not tell its score from 0."""


@dataclass(frozen=True)
class PAMConfig:
    """Parameters of the model.

    Parameters
    ----------
    published : bool
        As the paper's repository does it: its network, columns divided by their maxima, a new
        network after every round, labels of all tasks compared. Otherwise the improved network,
        columns standardised once, training continued, labels compared within a task.
    replay : int
        Programs to train on after a round: all of its task, and others to make up this number.
    train : TrainConfig
    """

    published: bool = False
    replay: int = 2048
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        if self.replay < 2:
            raise ValueError(f"expected PAMConfig.replay >= 2, got {self.replay}")
        if self.published:
            object.__setattr__(self, "train", replace(self.train, by_task=False))


class PAMModel:
    """The network and what it learns from; a `CostModel`, also `Differentiable`.

    Training waits until a score is asked for.

    Parameters
    ----------
    config : PAMConfig, optional
    seed : int
        Of initial weights and of the order of training.

    Attributes
    ----------
    network : ScaledNetwork or None
        None until it is trained or loaded.
    card : weights.Card
        What is known of the weights.
    """

    def __init__(self, config: PAMConfig | None = None, seed: int = 0) -> None:
        self.config = config or PAMConfig()
        self.network: ScaledNetwork | None = None
        self.card = weights.Card(
            "PAM",
            self.config.published,
            None,
            {"statements": list(STATEMENT_NAMES), "accesses": list(ACCESS_NAMES)},
        )
        self._generator = torch.Generator().manual_seed(seed)
        self._replay = Replay()
        self._pending: list[str] = []
        self._pretrained = False

    def ready(self, task: Task) -> bool:
        self._check_kind(task)
        return self._pretrained or np.isfinite(self._replay.best_s(task.key))

    def learn(self, task: Task, measured: Sequence[Measured]) -> None:
        self._check_kind(task)
        if self._replay.note(task.key, measured) and task.key not in self._pending:
            self._pending.append(task.key)

    def score(self, task: Task, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        self._catch_up(task.key)
        if self.network is None:
            # Of a single program there is no order to learn.
            return np.ones(sum(len(configs) for _, configs in asked))
        found = [self._scores(self.network, sketch, configs) for sketch, configs in asked]
        return np.concatenate([*found, np.empty(0)])

    def relaxed_score(self, task: Task, sketch: Sketch, configs: torch.Tensor) -> torch.Tensor:
        self._catch_up(task.key)
        if self.network is None:
            return configs.sum(dim=1) * 0 + 1
        self.network.eval()
        with bounded_threads(self.config.train.threads):
            batch = Batch.whole(*ProgramFeatures.of(sketch).relaxed(configs))
            return torch.nn.functional.softplus(self.network(batch).double(), threshold=40)

    def score_programs(self, programs: ProgramArrays) -> FloatArray:
        """Score programs [n] that are features already, as `score` does; once trained or loaded."""
        if self.network is None:
            raise ValueError(
                f"expected a {self.card.model} that is trained or loaded, got a new one"
            )
        pieces = np.split(np.arange(len(programs)), range(_PIECE, len(programs), _PIECE))
        found = [self._logits(self.network, programs.take(piece)) for piece in pieces]
        return positive(self._checked(np.concatenate(found)))

    def train(
        self, examples: Examples, held_out: Examples | None = None, *, target_kind: str | None
    ) -> Course:
        """Train on measured programs of many tasks, before any tuning.

        Parameters
        ----------
        examples, held_out : Examples
            Of different tasks.
        target_kind : str or None
            Kind of the tasks' targets.
        """
        self.network, course = self._new(examples, held_out)
        self._pretrained = True
        trained_on = {"tasks": len(examples.tasks), "programs": len(examples)}
        self.card = replace(self.card, target_kind=target_kind, trained_on=trained_on)
        return course

    def save(self, path: str) -> None:
        """Write the weights with their card, without the programs they were learnt from."""
        for key in list(self._pending):
            self._catch_up(key)
        if self.network is None:
            raise ValueError(
                f"expected a {self.card.model} that has learnt from two programs or more, got a "
                "new one: there are no weights to write"
            )
        weights.write(path, self.network.state_dict(), self.card)

    def load(self, path: str | Path) -> None:
        """Read weights; what is measured from now on adds to them."""
        tensors, card = weights.read(path, self.card)
        network = self._made(torch.Generator().manual_seed(0))
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(f"{path}: expected the weights of {card.model}: {error}") from error
        self.network, self.card = network.eval(), card
        self._pretrained, self._replay, self._pending = True, Replay(), []

    # Inside.

    def _made(self, generator: torch.Generator) -> ScaledNetwork:
        return ScaledNetwork(make_network(NetworkForm(self.config.published), generator))

    def _check_kind(self, task: Task) -> None:
        if task.target is None:
            return
        kind = task.target.kind.name
        if self.card.target_kind is None:
            self.card = replace(self.card, target_kind=kind)
        if kind != self.card.target_kind:
            raise ValueError(
                f"expected tasks for {self.card.target_kind}, for which this {self.card.model} "
                f"was made, got {task.name} for {kind}: use a model for each kind of target"
            )

    def _catch_up(self, key: str) -> None:
        """Train on what has been measured of a task since it was last trained on."""
        if key not in self._pending:
            return
        self._pending.remove(key)
        examples = self._replay.examples()
        if len(examples) < 2:
            return
        online = {"tasks": len(examples.tasks), "programs": len(examples)}
        self.card = replace(self.card, trained_on={**self.card.trained_on, "online": online})
        examples = self._thinned(examples, key)
        if self.network is None or self.config.published:
            self.network, _ = self._new(examples)
        else:
            self._fit(self.network, examples, warm=True)

    def _thinned(self, examples: Examples, task: str) -> Examples:
        return examples.thinned(task, self.config.replay, self._generator)

    def _new(
        self, examples: Examples, held_out: Examples | None = None
    ) -> tuple[ScaledNetwork, Course]:
        network = self._made(self._generator)
        network.scale_to(examples)
        return network, self._fit(network, examples, held_out=held_out)

    def _fit(
        self,
        network: ScaledNetwork,
        examples: Examples,
        *,
        warm: bool = False,
        held_out: Examples | None = None,
    ) -> Course:
        config = self.config.train
        return fit(
            network, examples, lambda_rank, config, self._generator, warm=warm, held_out=held_out
        )

    def _scores(self, network: ScaledNetwork, sketch: Sketch, configs: IntArray) -> FloatArray:
        features = ProgramFeatures.of(sketch)
        pieces = [configs[i : i + _PIECE] for i in range(0, len(configs), _PIECE)]
        found = [self._logits(network, features(piece)) for piece in pieces]
        return positive(self._checked(np.concatenate([*found, np.empty(0)])))

    def _logits(self, network: ScaledNetwork, programs: ProgramArrays) -> FloatArray:
        return predict(network, Batch.of([programs]), self.config.train).double().numpy()

    def _checked(self, logits: FloatArray) -> FloatArray:
        bad = int(np.isnan(logits).sum())
        if bad:
            raise ValueError(
                f"{self.card.model} predicted nan for {bad} of {len(logits)} programs: its weights "
                "are damaged; load them again, or start without"
            )
        return logits


def positive(logits: FloatArray) -> FloatArray:
    """``ln(1 + e^x)`` [n]: in the order of the logits, and above 0 as shares of a wheel must be."""
    return np.logaddexp(0.0, np.maximum(logits, _LEAST))


class PAM(TVMCostModel):
    """Pruner's learned model, with any strategy and any space.

    ``ms.tune_tir(..., cost_model=mschedx.cost.PAM())`` learns while it tunes; with ``pretrained``
    it is ready at once and goes on learning. One model serves all tasks of a run.

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
