"""MoA: momentum online adaptation of a pretrained PAM to the tasks at hand.

A slow network φ starts as the pretrained one. After every few rounds a copy of φ is trained on all
that has been measured; the copy scores from then on, and φ moves a little towards it::

    φ ← m · φ + (1 − m) · copy

so that what was pretrained fades slowly: after u refits its share is m^u. The paper's figure writes
a gradient in the place of the copy; its repository averages weights, as here.

References
----------
Qiao et al., "Pruner", ASPLOS 2025, section 5.3; github qiaolian9/Pruner, ``siamese_update``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from mschedx.ranges import require_counts, require_shares

from ..adapter import TVMCostModel
from ..base import Measured
from .pam import PAMConfig, PAMModel
from .ranking_model import RankingNetwork
from .shipped import weights_path

if TYPE_CHECKING:
    from mschedx.space.task import Task


@dataclass(frozen=True)
class MoAConfig(PAMConfig):
    """Parameters of adaptation, and those of PAM.

    Parameters
    ----------
    momentum : float
        m, in [0, 1).
    every : int
        Rounds, of all tasks together, between refits.
    """

    momentum: float = 0.99
    every: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_shares(self, "momentum", one=False)
        require_counts(self, "every")


class MoAModel(PAMModel):
    """A PAM that adapts; a `CostModel`. Parameters as of `MoA`.

    Attributes
    ----------
    slow : RankingNetwork or None
        φ; None until weights are loaded.
    updates : int
        Rounds learnt so far.
    """

    def __init__(self, config: MoAConfig | None = None, seed: int = 0) -> None:
        config = config or MoAConfig()
        super().__init__(config, seed)
        self.momentum, self.every = config.momentum, config.every
        self.slow: RankingNetwork | None = None
        self.updates = 0

    def load(self, path: str | Path) -> None:
        super().load(path)
        self.slow = copy.deepcopy(self.network)
        self.updates = 0

    def learn(self, task: Task, measured: Sequence[Measured]) -> None:
        self._check_kind(task)
        if not self._programs.note(task.key, measured):
            return
        self.updates += 1
        if self.updates % self.every == 0:
            self._refit(task.key)

    def _refit(self, task: str) -> None:
        examples = self._programs.examples()
        if len(examples) < 2:
            return
        if self.slow is None:
            raise ValueError(
                "expected MoA with pretrained weights to adapt, got none: pass "
                "pretrained=<file written by PAM.save or `mschedx train`>"
            )
        trained = copy.deepcopy(self.slow)
        trained.scale_to(examples)
        # A full course each time: the copy starts from φ, not from the last copy.
        self._fit(trained, self._thinned(examples, task))
        self.network = trained
        # As published, φ keeps the statistics of its normalisation over batches.
        average(self.slow, trained, self.momentum, buffers=not self.config.published)


def average(slow: nn.Module, new: nn.Module, momentum: float, *, buffers: bool) -> None:
    """``φ ← m · φ + (1 − m) · new``, elementwise, in place.

    Parameters
    ----------
    slow, new : torch modules
        Of one structure.
    momentum : float
        m.
    buffers : bool
        Whether floating-point buffers, which hold scalings, move too; parameters always do.
    """
    kinds = ("parameters", "buffers") if buffers else ("parameters",)
    with torch.no_grad():
        for kind in kinds:
            for old, target in zip(getattr(slow, kind)(), getattr(new, kind)()):
                if old.dtype.is_floating_point:
                    old.mul_(momentum).add_(target, alpha=1 - momentum)


class MoA(TVMCostModel):
    """A pretrained PAM that adapts slowly, with any strategy and any space.

    Parameters
    ----------
    pretrained : str or path
        A model that comes with the package, by name, or a file that `PAM.save` or
        ``mschedx train`` wrote.
    config : MoAConfig, optional
    seed : int
        Of the order of training.
    """

    model: MoAModel

    def __init__(
        self, pretrained: str | Path, config: MoAConfig | None = None, seed: int = 0
    ) -> None:
        model = MoAModel(config, seed)
        model.load(weights_path(pretrained))
        super().__init__(model)
