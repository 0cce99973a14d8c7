"""What training minimises: pairs of programs in the wrong order, weighted by what that costs.

Notation
--------
n : number of programs in a batch.
y : label, the best latency of a task over that of a program, in [0, 1]; 0 for one that failed.
s : predicted score.
G : gain of a program, (2^y − 1) / maxDCG.
D : discount of a place, log2(1 + place), place 1 being the best score.

References
----------
Burges et al., "Learning to Rank with Nonsmooth Cost Functions", 2006; weights as in github
qiaolian9/Pruner and TenSet.
"""

from __future__ import annotations

import math

import torch


def lambda_rank(
    scores: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor | None = None
) -> torch.Tensor:
    """``−Σ |1/D_i − 1/D_j| · |G_i − G_j| · log2 σ(s_i − s_j)`` over pairs with y_i > y_j.

    Parameters
    ----------
    scores, labels : float tensors [n]
    groups : int64 tensor [n], optional
        Task of each program; only programs of one task are compared, and places and gains are
        those within it. One list when None, as published: labels of different tasks, which mean
        nothing to each other, are then compared too.

    Returns
    -------
    tensor, a number >= 0
        The sum over pairs.

    Raises
    ------
    ValueError
        For scores and labels that are not of one length.
    """
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"expected scores [n] and labels [n], got {tuple(scores.shape)} and "
            f"{tuple(labels.shape)}"
        )
    together = torch.ones((len(scores), len(scores)), dtype=torch.bool, device=scores.device)
    if groups is not None:
        together = groups[:, None] == groups[None, :]
    with torch.no_grad():
        discount = _discounts(scores, together)
        gains = torch.exp2(labels) - 1
        ideal = gains / _discounts(labels, together)
        best = (together * ideal[None, :]).sum(dim=1).clamp(min=1e-10)
        gains = gains / best
        swap = (1 / discount[:, None] - 1 / discount[None, :]).abs()
        weights = swap * (gains[:, None] - gains[None, :]).abs()
        weights = weights * (together & (labels[:, None] > labels[None, :]))
    ahead = scores[:, None] - scores[None, :]
    return -(weights * torch.nn.functional.logsigmoid(ahead)).sum() / math.log(2)


def _discounts(values: torch.Tensor, together: torch.Tensor) -> torch.Tensor:
    """D of every value among those it belongs to, the greatest first, ties in order: [n]."""
    order = torch.arange(len(values), device=values.device)
    before = (values[None, :] > values[:, None]) | (
        (values[None, :] == values[:, None]) & (order[None, :] < order[:, None])
    )
    return torch.log2(2 + (before & together).sum(dim=1).to(values.dtype))


def squared_error(
    scores: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor | None = None
) -> torch.Tensor:
    """``Σ (s − y)²`` over programs, whatever their tasks; scores and labels are tensors [n]."""
    del groups
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"expected scores [n] and labels [n], got {tuple(scores.shape)} and "
            f"{tuple(labels.shape)}"
        )
    return ((scores - labels) ** 2).sum()
