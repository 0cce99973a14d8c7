"""Training: any network that scores a batch, any loss of scores and labels.

References
----------
Parameters as in github qiaolian9/Pruner.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from mschedx.ranges import require_counts, require_no_negative, require_positive, require_shares

from .examples import Batch, Examples
from .metrics import pairwise_accuracy

Loss = Callable[[torch.Tensor, torch.Tensor, "torch.Tensor | None"], torch.Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """Parameters of training; the paper's by default.

    Parameters
    ----------
    learning_rate, weight_decay : float
        Of Adam.
    clip : float
        Greatest norm of a gradient.
    batch : int
        Programs a step, at least two: a loss compares them.
    epochs : int
        Passes over the data when a network is new.
    warm_epochs : int
        Passes when it has been trained before.
    patience : float
        Share of the epochs without improvement after which training stops.
    smoothing : float
        Weight of the past in the running mean of the training loss.
    by_task : bool
        Compare only programs of one task. The published form compares all.
    cosine : bool
        Whether the learning rate falls to 0 along a cosine over the epochs.
    balanced : bool
        Draw programs with replacement so that slow and fast ones come equally often (by tenths of
        the labels), instead of going through all of them.
    threads : int
        Most threads of PyTorch while it trains or predicts. One: networks of this size gain little
        from more, and threads that wait for each other take seconds where the cores are busy
        (10 000 programs: 1.4 s with one thread, 6 s with two, beside three other processes on two
        cores).
    """

    learning_rate: float = 7e-4
    weight_decay: float = 1e-6
    clip: float = 0.5
    batch: int = 512
    epochs: int = 50
    warm_epochs: int = 12
    patience: float = 1 / 3
    smoothing: float = 0.95
    by_task: bool = True
    cosine: bool = False
    balanced: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        require_counts(self, "batch", least=2)
        require_counts(self, "epochs", "warm_epochs", "threads")
        require_positive(self, "learning_rate", "clip", "patience")
        require_no_negative(self, "weight_decay")
        require_shares(self, "smoothing", one=False)


@dataclass
class Course:
    """How training went.

    Parameters
    ----------
    losses : list of float
        Mean loss of a program, per epoch.
    held_out : list of float
        Pairwise accuracy on held-out tasks, per epoch; empty where nothing was held out.
    """

    losses: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)


@contextmanager
def bounded_threads(most: int) -> Iterator[None]:
    """Let PyTorch use no more than ``most`` threads, and what it had before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, most))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Let PyTorch's own generator of the CPU begin at a seed, and be as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def fit(
    network: nn.Module,
    examples: Examples,
    loss: Loss,
    config: TrainConfig,
    generator: torch.Generator,
    *,
    warm: bool = False,
    held_out: Examples | None = None,
) -> Course:
    """Train a network in place.

    Parameters
    ----------
    network : torch module
        Takes a `Batch` of n programs and returns n scores.
    examples : Examples
        At least two programs.
    loss : callable
        Scores, labels and groups [n] to a number.
    config : TrainConfig
    generator : torch.Generator
        The only source of chance, also of what layers draw themselves, as dropout does.
    warm : bool
        Whether the network has been trained before.
    held_out : Examples, optional
        Programs of other tasks. With them, the weights of the epoch that ranks them best are kept,
        and training stops when that gets no better; without, when the training loss does not.

    Raises
    ------
    ValueError
        With too few examples, or when the loss is no longer a number.
    """
    if len(examples) < 2:
        raise ValueError(f"expected at least two programs to train on, got {len(examples)}")
    epochs = config.warm_epochs if warm else config.epochs
    optimiser = torch.optim.Adam(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    course, best = Course(), _Best(max(1, round(config.patience * epochs)))
    smoothed = math.nan
    with bounded_threads(config.threads), drawn_from(_next_seed(generator)):
        for _ in range(epochs):
            course.losses.append(_epoch(network, examples, loss, config, optimiser, generator))
            if config.cosine:
                falling.step()
            if held_out is None:
                now = course.losses[-1]
                past = now if math.isnan(smoothed) else smoothed
                smoothed = config.smoothing * past + (1 - config.smoothing) * now
                improved = best.note(-smoothed)
            else:
                course.held_out.append(accuracy(network, held_out, config))
                improved = best.note(course.held_out[-1])
                if improved:
                    best.weights = copy.deepcopy(network.state_dict())
            if best.waited >= best.patience:
                break
    if best.weights is not None:
        network.load_state_dict(best.weights)
    network.eval()
    return course


def _next_seed(generator: torch.Generator) -> int:
    """What a generator draws next, without taking it."""
    ahead = torch.Generator().set_state(generator.get_state())
    return int(torch.randint(2**31, (1,), generator=ahead))


def predict(network: nn.Module, batch: Batch, config: TrainConfig) -> torch.Tensor:
    """Score programs [n] as they are, without gradients: tensor [n]."""
    network.eval()
    with torch.no_grad(), bounded_threads(config.threads):
        return network(batch)


def accuracy(network: nn.Module, examples: Examples, config: TrainConfig) -> float:
    """Mean pairwise accuracy over tasks; ½ where no two programs of any task differ."""
    scores, labels, groups = [], [], []
    for which in torch.arange(len(examples)).split(config.batch):
        batch, label, group = examples.batch(which)
        scores.append(predict(network, batch, config))
        labels.append(label)
        groups.append(group)
    score, group = torch.cat(scores).double().numpy(), torch.cat(groups).numpy()
    # Only the order of latencies counts, and that of −label is the same.
    slow = -torch.cat(labels).double().numpy()
    found = [pairwise_accuracy(slow[group == g], score[group == g]) for g in np.unique(group)]
    return float(np.nanmean([*found, 0.5])) if np.isnan(found).all() else float(np.nanmean(found))


def _epoch(
    network: nn.Module,
    examples: Examples,
    loss: Loss,
    config: TrainConfig,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> float:
    network.train()
    total = 0.0
    batches = (
        examples.balanced_batches(config.batch, generator)
        if config.balanced
        else examples.batches(config.batch, config.by_task, generator)
    )
    for which in batches:
        if len(which) < 2:
            continue  # nothing to compare, and no batch to normalise over
        batch, labels, groups = examples.batch(which)
        value = loss(network(batch), labels, groups if config.by_task else None)
        if not torch.isfinite(value):
            raise ValueError(
                "expected a finite training loss, got "
                f"{value.item()}: lower TrainConfig.learning_rate, or start from new weights"
            )
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimiser.step()
        total += value.item()
    return total / len(examples)


@dataclass
class _Best:
    """The best value so far, and for how many epochs there has been none better."""

    patience: int
    value: float = -math.inf
    waited: int = 0
    weights: dict[str, torch.Tensor] | None = None

    def note(self, value: float) -> bool:
        improved = value > self.value
        self.value = max(self.value, value)
        self.waited = 0 if improved else self.waited + 1
        return improved
