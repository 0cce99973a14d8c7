"""Felix's network, several of them side by side, and how they are trained.

A statement's row goes through two layers, rows of a program are summed, two residual layers and a
last one make the sum a prediction of ``ln(1 / latency)``. The networks of an ensemble differ in
their initial weights and in how often each trial counts for them, so that they disagree where there
is no data.

Notation
--------
M : networks; H : width of their layers.
n : programs; S : most statements of one; F : columns of a statement.

References
----------
Zhao et al., "Felix", ASPLOS 2024; layers, loss and Adam's parameters as in github uiuc-arc/felix,
which has one network and clips gradients only after the step that they should have bounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mschedx.ranges import require_counts, require_no_negative, require_positive

from .adam import Adam
from .train import bounded_threads

FloatArray = NDArray[np.float64]

LOG_SCALE = 10.0
"""Columns are natural logarithms up to about 25; divided by this they are of the order of 1."""

MOST_PROGRAMS = 1 << 14
"""Rows that go through a network at a time."""


@dataclass(frozen=True)
class FelixConfig:
    """Parameters of the networks and of their training; Felix's values in brackets.

    Parameters
    ----------
    members : int
        Networks, >= 1 (1).
    width : int
        H (256).
    pessimism : float
        How many standard deviations of the ensemble a score is below its mean, >= 0 (0).
    learning_rate : float
        Of Adam, for networks that were new when the task began (7e-4).
    fine_tuning_rate : float
        For networks that were loaded (1e-4).
    weight_decay : float
        Of Adam, >= 0 (1e-6).
    clip : float
        Greatest norm of a network's gradient, > 0 (0.5); of several, the root of the mean square.
    batch : int
        Programs a step (32).
    steps, later_steps : int
        Of the first training, and after every further round. 300 and 100 steps of 64 programs rank
        no better and take almost twice as long (``docs/findings.md``).
    epochs : int
        Passes over a data set that networks are trained on before any tuning (at most 200).
    failure_margin : float
        How far below its task's slowest trial one is put that failed, in natural-log units.
    replay : int
        Most programs to train on: all of the task in question, and as many others as there is room.
    threads : int
        Most threads of PyTorch. One: the layers are small, and other processes want the cores too.
    """

    members: int = 4
    width: int = 128
    pessimism: float = 1.0
    learning_rate: float = 1e-3
    fine_tuning_rate: float = 1e-4
    weight_decay: float = 1e-6
    clip: float = 0.5
    batch: int = 32
    steps: int = 200
    later_steps: int = 50
    epochs: int = 30
    failure_margin: float = 1.0
    replay: int = 2048
    threads: int = 1

    def __post_init__(self) -> None:
        require_counts(self, "members", "width", "batch", "steps", "later_steps", "epochs")
        require_counts(self, "replay", "threads")
        require_positive(self, "learning_rate", "fine_tuning_rate", "clip")
        require_no_negative(self, "pessimism", "weight_decay", "failure_margin")


class Ensemble(nn.Module):
    """M networks of one shape.

    Parameters
    ----------
    members, columns, width : int
        M, F and H.
    generator : torch.Generator
        Draws the initial weights.
    """

    offset: torch.Tensor

    def __init__(self, members: int, columns: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.rows = nn.ModuleList(
            [
                _Layers(members, columns, width, generator),
                _Layers(members, width, width, generator),
            ]
        )
        self.residuals = nn.ModuleList(_Layers(members, width, width, generator) for _ in range(2))
        self.last = _Layers(members, width, 1, generator)
        self.register_buffer("offset", torch.zeros(()))

    def forward(self, statements: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Predict ``ln(1 / latency)``, latency in seconds: tensor [M, n].

        Parameters
        ----------
        statements : float32 tensor [n, S, F]
        real : float32 tensor [n, S]
            1, or 0 for a row that is padding.
        """
        n, s, columns = statements.shape
        hidden = (statements / LOG_SCALE).reshape(1, n * s, columns)
        for layer in self.rows:
            hidden = torch.relu(layer(hidden))
        hidden = hidden.reshape(len(hidden), n, s, hidden.shape[2])
        hidden = (hidden * real[:, :, None]).sum(dim=2)
        for layer in self.residuals:
            hidden = torch.relu(layer(hidden)) + hidden
        return self.last(hidden).squeeze(2) + self.offset

    def score(self, statements: torch.Tensor, real: torch.Tensor, pessimism: float) -> torch.Tensor:
        """Predict ``mean − pessimism · standard deviation`` of the networks: tensor [n]."""
        found = self(statements, real)
        if len(found) == 1 or not pessimism:
            return found.mean(dim=0)
        # Where all agree, a deviation has no slope; the small number gives it one.
        deviation = (found.var(dim=0, correction=0) + 1e-12).sqrt()
        return found.mean(dim=0) - pessimism * deviation


class _Layers(nn.Module):
    """One linear layer of each of M networks: [M or 1, n, a] to [M, n, b]."""

    def __init__(self, members: int, a: int, b: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(a)
        weight = torch.rand((members, a, b), generator=generator) * 2 - 1
        bias = torch.rand((members, 1, b), generator=generator) * 2 - 1
        # Of variance 1/a, so that a layer hands on numbers as large as it is given; torch's own
        # have a third of that.
        self.weight = nn.Parameter(weight * bound * math.sqrt(3))
        self.bias = nn.Parameter(bias * bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(x, self.weight) + self.bias


@dataclass(frozen=True)
class Programs:
    """Measured programs of one sketch.

    Parameters
    ----------
    task : str
        Key of their task.
    statements : float32 tensor [n, S, F]
    labels : float32 tensor [n]
        ``ln(1 / latency)``.
    """

    task: str
    statements: torch.Tensor
    labels: torch.Tensor


def labels_of(latency_s: FloatArray, slowest_s: float, margin: float) -> torch.Tensor:
    """``ln(1 / latency)`` of seconds [n]; of failed ones that of the slowest, less a margin."""
    seconds = np.where(np.isfinite(latency_s), latency_s, slowest_s * math.exp(margin))
    return torch.tensor(-np.log(seconds), dtype=torch.float32)


def padded(parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Put programs [n_i, S_i, F] under each other: [n, S, F], and which rows are real [n, S]."""
    most = max(part.shape[1] for part in parts)
    count = sum(len(part) for part in parts)
    statements = parts[0].new_zeros((count, most, parts[0].shape[2]))
    real = parts[0].new_zeros((count, most))
    start = 0
    for part in parts:
        statements[start : start + len(part), : part.shape[1]] = part
        real[start : start + len(part), : part.shape[1]] = 1.0
        start += len(part)
    return statements, real


def fit(
    network: Ensemble,
    programs: Sequence[Programs],
    config: FelixConfig,
    generator: torch.Generator,
    *,
    rate: float,
    steps: int,
) -> float:
    """Train in place, with Adam and a fresh state of it.

    Parameters
    ----------
    network : Ensemble
    programs : sequence of Programs
        At least one program in all.
    config : FelixConfig
    generator : torch.Generator
        The only source of chance.
    rate : float
        Learning rate.
    steps : int

    Returns
    -------
    float
        Mean squared error over the last tenth of the steps.

    Raises
    ------
    ValueError
        When the loss is not finite.
    """
    statements, real = padded([part.statements for part in programs])
    labels = torch.cat([part.labels for part in programs])
    members, n = len(network.last.bias), len(labels)
    counts = torch.ones(members, n)
    if members > 1:
        counts = torch.poisson(counts, generator=generator)
    clip = config.clip * math.sqrt(members)
    optimiser = Adam(network.parameters(), rate, config.weight_decay, clip)
    losses = []
    with bounded_threads(config.threads):
        for _ in range(steps):
            which = torch.randperm(n, generator=generator)[: config.batch]
            error = (network(statements[which], real[which]) - labels[which]) ** 2
            loss = (error * counts[:, which]).mean(dim=1).sum()
            if not torch.isfinite(loss):
                raise ValueError(
                    f"expected a finite training loss, got {loss.item()}: lower "
                    "FelixConfig.learning_rate, or start from new weights"
                )
            optimiser.step(loss)
            losses.append(float(error.detach().mean()))
    return float(np.mean(losses[-max(1, steps // 10) :]))
