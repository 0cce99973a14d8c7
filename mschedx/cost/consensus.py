"""Two opinions on a config where nothing was measured: the analyzer's and a trained network's.

They err differently. PSA knows the machine and no compiler; a network knows what the compiler made
of other programs, and no more of this one than its columns say. What a network that was trained on
pairs says of two programs is a difference of logits, its log-odds that one is the faster; of PSA's
seconds these grow with the logarithm of their ratio. The sum of the two is what independent
evidence adds up to, wherever the logits lie: in a space where all programs are slow beside those of
another they may all be near −16, and a network's scores, ``ln(1 + e^logit)``, all near 0.

In TVM's space the sum ranks more pairs rightly than either; in mschedx's it does on tasks of more
than three configs (docs/benchmarks/ranking.md). That is so on the processor whose programs the
network has seen (`ConsensusModel.knows`); on another one it is no better a guide than the analyzer,
which has that one's figures, and `mschedx.rank` lets that choose the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .adapter import TVMCostModel
from .base import FloatArray, IntArray, Measured
from .learned.features import ProgramFeatures
from .learned.numpy_network import NumpyNetwork
from .learned.shipped import weights_path
from .psa import ACCURACY, PSAModel

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task

WEIGHT = 6.0
"""Of ln(1 / PSA's seconds), beside the network's logits; 4 to 12 do as well.

So many logits speak of a program that is e times as fast.
"""


class ConsensusModel:
    """PSA and a pretrained PAM as one `CostModel`, `Logarithmic`; parameters as of `Consensus`.

    PSA goes on learning from what is measured, the network does not.

    Parameters
    ----------
    mcpu : str, optional
        The processor that ``"cpu"`` is asked for; this machine's when None.
    """

    def __init__(
        self, pretrained: str | Path, weight: float = WEIGHT, mcpu: str | None = None
    ) -> None:
        if not weight >= 0:
            raise ValueError(f"expected a weight >= 0, got {weight}")
        self.psa, self.weight = PSAModel(), weight
        self.network = NumpyNetwork.load(weights_path(pretrained, mcpu))

    @property
    def logarithmic(self) -> float:
        """What a score grows by where a program is e times as fast, by the heavier opinion."""
        return max(self.weight, WEIGHT)

    def ready(self, task: Task) -> bool:
        """Always; ``ValueError`` for a task of another kind of target than the network's."""
        trained = self.network.target_kind
        kind = None if task.target is None else str(task.target.kind.name)
        if None not in (kind, trained) and kind != trained:
            raise ValueError(
                f"expected tasks for {trained}, for which the network of this Consensus was "
                f"trained, got one for {kind}: pass weights that were trained for it"
            )
        return True

    def knows(self, task: Task) -> bool:
        """Whether the network was trained on the task's processor, as far as its card says."""
        seen = self.network.processors
        return not seen or task.target is None or task.target.attrs.get("mcpu") in seen

    def skill(self) -> float:
        """Pairwise accuracy before anything is measured, taken to be that of the better of both."""
        return max(ACCURACY, self.network.accuracy)

    def learn(self, task: Task, measured: Sequence[Measured]) -> None:
        self.psa.learn(task, measured)

    def score(self, task: Task, asked: Sequence[tuple[Sketch, IntArray]]) -> FloatArray:
        prior = np.log(self.psa.score(task, asked))
        logits = [self.network(ProgramFeatures.of(sketch)(configs)) for sketch, configs in asked]
        return np.concatenate([*logits, np.empty(0)]) + self.weight * prior

    def save(self, path: str) -> None:
        self.psa.save(path)

    def load(self, path: str) -> None:
        self.psa.load(path)


class Consensus(TVMCostModel):
    """PSA and a pretrained PAM together, with any strategy and any space.

    Parameters
    ----------
    pretrained : str or path
        A model that comes with the package, by name, or a file that `PAM.save` or
        ``mschedx train`` wrote.
    weight : float
        Of PSA's opinion, >= 0.
    """

    model: ConsensusModel

    def __init__(self, pretrained: str | Path = "cpu", weight: float = WEIGHT) -> None:
        super().__init__(ConsensusModel(pretrained, weight))
