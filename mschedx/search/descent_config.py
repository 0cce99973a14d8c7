"""Parameters of gradient descent, and which of them are Felix's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from mschedx.ranges import require_counts, require_positive, require_shares

if TYPE_CHECKING:
    from .descent import Annealing


class Fallback(StrEnum):
    """What to do with a cost model that has no gradients."""

    ERROR = "error"
    """Stop, and say which models have."""
    SCORE = "score"
    """Choose by its scores among samples and neighbours of the best, or sample without scores."""


@dataclass(frozen=True)
class DescentConfig:
    """Parameters of gradient descent; those of Felix's scripts in brackets.

    Parameters
    ----------
    n_seeds : int
        Configs that go down per round, of all sketches together, >= 1 (32 of each sketch).
    n_sketches : int
        Most sketches that go down in a round, >= 1 (all): a step costs more by sketch than by
        config.
    n_steps, later_steps : int
        Steps of a round, >= 1, before and after the model has learnt something (64, 16; 128 and 32
        in its gallery, whose ``n_seeds`` and ``batch`` are 16). With 8 climbs 32 find as much
        as 64 with 4, and more in three of five cases, in half the time
        (``docs/findings.md``).
    draft_every : int
        Steps that one slope of the draft serves beside the model's, >= 1 (Felix has no draft).
    learning_rate, last_rate : float
        Of Adam, in octaves, > 0 (0.5, 0.1).
    width, last_width : float
        Of the smoothings, in (0, 1]; Felix's are one and fixed.
    penalty : float
        Norm of the slope of broken constraints over that of the cost, > 0 (5).
    samples : int
        Fresh samples per round, from which seeds are taken, >= 1.
    measured_share, draft_share, random_share : float
        Shares of the seeds that are the fastest configs so far, the best samples by the draft, and
        samples whatever their score; the others are the best predicted samples. Each in [0, 1],
        together at most 1 (0, 0, 1).
    reach : float
        Octaves that each factor may move from where it was measured, > 0 (infinite). What opinions
        say of a config is the less worth the farther away it was measured.
    climbs : int
        Most changes of one tile or choice, one after the other, of each of the best configs, >= 0.
    nearby : int
        Other tiles, or choices, that are tried in place of one, >= 1.
    choices : int
        Most combinations of choices (unrolling, …) that are tried of a config, >= 1.
    near_share : float
        Share of what is not random in a batch that is taken from within ``reach`` of the fastest or
        one change away from them, in [0, 1] (0).
    niche_share : float
        Points of one niche, as a share of a number of points: of the rest of a batch, of those that
        climb and of the fastest that go down again, in (0, 1]; 1 does not look at niches (1).
    epsilon : float
        Share of a batch that is random, in [0, 1] (0).
    blend : bool
        Whether the draft's slope counts beside the model's, as far as it has ranked what was
        measured better (`blend`); Felix has no draft.
    fallback : Fallback
        What to do with a cost model that has no gradients; or its value, as a str.
    batch : int, optional
        Most candidates measured per round; as for evolution when None (64).
    pool : int
        Most points to score in a round when scoring means materialising (TVM's models).
    threads : int
        Most threads of PyTorch during a descent, >= 1. One: its operations are too small to share.

    Raises
    ------
    ValueError
        For a parameter outside its range.
    """

    n_seeds: int = 32
    n_sketches: int = 4
    n_steps: int = 32
    later_steps: int = 16
    draft_every: int = 2
    learning_rate: float = 0.5
    last_rate: float = 0.05
    width: float = 0.5
    last_width: float = 0.05
    penalty: float = 5.0
    samples: int = 512
    measured_share: float = 0.25
    draft_share: float = 0.25
    random_share: float = 0.25
    reach: float = 1.6
    climbs: int = 8
    nearby: int = 8
    choices: int = 16
    near_share: float = 0.5
    niche_share: float = 0.125
    epsilon: float = 0.1
    blend: bool = True
    fallback: Fallback = Fallback.ERROR
    batch: int | None = None
    pool: int = 256
    threads: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "fallback", Fallback(self.fallback))
        require_counts(self, "n_seeds", "n_sketches", "n_steps", "later_steps", "draft_every")
        require_counts(self, "samples", "choices", "nearby", "pool", "threads")
        require_counts(self, "batch", optional=True)
        require_counts(self, "climbs", least=0)
        require_positive(self, "learning_rate", "last_rate", "penalty", "reach")
        require_shares(self, "width", "last_width", "niche_share", zero=False)
        shares = ("measured_share", "draft_share", "random_share")
        require_shares(self, *shares, "near_share", "epsilon")
        if sum(getattr(self, name) for name in shares) > 1:
            raise ValueError(
                f"expected DescentConfig.{' + '.join(shares)} <= 1, got "
                f"{' + '.join(str(getattr(self, name)) for name in shares)}"
            )

    @property
    def annealing(self) -> Annealing:
        """Of a round's descent, before the model has learnt something."""
        from .descent import Annealing

        return Annealing(
            self.n_steps,
            self.learning_rate,
            self.last_rate,
            self.width,
            self.last_width,
            self.penalty,
        )
