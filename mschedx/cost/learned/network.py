"""Pruner's network: statements in one branch, accesses through attention in the other.

Two forms share everything but what the published one lacks. As published, statements and accesses
are summed up, the attention knows no order, and normalisation is over a batch. Improved, accesses
have positions, padding is masked, both branches are pooled with learned weights, and normalisation
is over the columns of a program, so that a score depends on nothing but the program.

Notation
--------
n : programs in a batch; S, R : statements and accesses; F, G : their columns.

References
----------
Qiao et al., "Pruner", ASPLOS 2025, section 5; layers as in github qiaolian9/Pruner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from .examples import Batch, Examples
from .features import ACCESS_NAMES, MOST_ROWS, STATEMENT_NAMES
from .ranking_model import RankingNetwork, seeded
from .scaling import Scaling
from .shipped import HEADS

_HIDDEN = 256
_MIDDLE = 64
_WIDTH = 128


@dataclass(frozen=True)
class NetworkForm:
    """What a network is made for.

    Parameters
    ----------
    published : bool
        The form of the paper's repository; see the module.
    statement_columns, access_columns : int
        F and G. The repository's are 174 and 23.
    """

    published: bool = False
    statement_columns: int = len(STATEMENT_NAMES)
    access_columns: int = len(ACCESS_NAMES)

    @classmethod
    def as_published(cls) -> NetworkForm:
        """The repository's network: 417 409 parameters."""
        return cls(True, 174, 23)


class AttentionNetwork(nn.Module):
    """Scores of programs; parameters as of `NetworkForm`."""

    def __init__(self, form: NetworkForm) -> None:
        super().__init__()
        self.form = form
        self.statements = nn.Sequential(
            nn.Linear(form.statement_columns, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
        )
        self.accesses = nn.Sequential(
            nn.Linear(form.access_columns, _MIDDLE),
            nn.ReLU(),
            nn.Linear(_MIDDLE, _WIDTH),
            nn.ReLU(),
        )
        self.attention = nn.MultiheadAttention(_WIDTH, HEADS, batch_first=True)
        self.fuse = nn.Sequential(nn.Linear(_HIDDEN + _WIDTH, _HIDDEN), nn.ReLU())
        self.norm = nn.BatchNorm1d(_HIDDEN) if form.published else nn.LayerNorm(_HIDDEN)
        self.residuals = nn.ModuleList(
            nn.Sequential(nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()) for _ in range(2)
        )
        self.score = nn.Linear(_HIDDEN, 1)
        if not form.published:
            self.positions = nn.Embedding(MOST_ROWS, _WIDTH)
            self.access_norm = nn.LayerNorm(_WIDTH)
            self.statement_weight = nn.Linear(_HIDDEN, 1)
            self.access_weight = nn.Linear(_WIDTH, 1)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Score programs [n]: float tensor [n], higher is better."""
        both = torch.cat([self._statements(batch), self._accesses(batch)], dim=1)
        hidden = self.norm(self.fuse(both))
        for layer in self.residuals:
            hidden = layer(hidden) + hidden
        return self.score(hidden).squeeze(1)

    def _statements(self, batch: Batch) -> torch.Tensor:
        hidden = self.statements(batch.statements) * batch.is_statement[:, :, None]
        if self.form.published:
            return hidden.sum(dim=1)
        return (torch.sigmoid(self.statement_weight(hidden)) * hidden).sum(dim=1)

    def _accesses(self, batch: Batch) -> torch.Tensor:
        hidden = self.accesses(batch.accesses)
        real = batch.is_access
        if self.form.published:
            hidden = self._attended(hidden, hidden, real)
            return (hidden * real[:, :, None]).sum(dim=1)
        hidden = hidden + self.positions.weight[: hidden.shape[1]]
        hidden = self._attended(hidden, self.access_norm(hidden), real)
        weight = self.access_weight(hidden).squeeze(2).masked_fill(~real, -1e9).softmax(dim=1)
        return ((weight * real)[:, :, None] * hidden).sum(dim=1)

    def _attended(
        self, hidden: torch.Tensor, seen: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """Add to every access what it sees of the real ones; all three of n programs."""
        # Attention to nothing is undefined: a program without accesses looks at its padding.
        blind = ~(real | ~real.any(dim=1, keepdim=True))
        mixed, _ = self.attention(seen, seen, seen, key_padding_mask=blind, need_weights=False)
        return hidden + mixed


class ScaledNetwork(RankingNetwork):
    """A network with the scaling of its columns, which is stored with its weights.

    Parameters
    ----------
    network : AttentionNetwork
    """

    def __init__(self, network: AttentionNetwork) -> None:
        super().__init__()
        self.network = network
        self.statement_scaling = Scaling(network.form.statement_columns)
        self.access_scaling = Scaling(network.form.access_columns)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Score programs [n] whose columns are as `features` gives them: [n]."""
        return self.network(
            replace(
                batch,
                statements=self.statement_scaling(batch.statements),
                accesses=self.access_scaling(batch.accesses),
            )
        )

    def scale_to(self, examples: Examples) -> None:
        """Take the scaling from these programs, in the way of the network's form."""
        for scaling, rows in (
            (self.statement_scaling, examples.statement_rows()),
            (self.access_scaling, examples.access_rows()),
        ):
            if len(rows) and self.network.form.published:
                scaling.by_maximum(rows)
            elif len(rows):
                scaling.standardise(rows)


def make_network(form: NetworkForm, generator: torch.Generator) -> AttentionNetwork:
    """Make a network with PyTorch's own initial weights, drawn from ``generator`` alone."""
    return seeded(lambda: AttentionNetwork(form), generator)
