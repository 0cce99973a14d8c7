"""Which tasks of a network are measured next: a floor for each, then where it pays most.

A task's expected gain per trial is that of Ansor's scheduler: what each trial of its last round
brought, and what one would bring if its latency went on falling as ``1 / trials``,

    w · (α · (previous − best) / last + (1 − α) · min(best / trials, best − bound))

with `w` the calls in a run of the network, `last` the trials of the last round, and `bound` the
task's operations at the best rate that any task of the network has reached.

Everything follows from how many trials the work_dir holds of each task, whoever measured them: a
run that was killed goes on where it was. Tasks that a network shares with others may come with
more trials than it would have given them, which is no reason to deny the rest their floor.

References
----------
Zheng et al., "Ansor", OSDI 2020, section 6 and appendix A; α as in TVM's ``GradientBased``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ALPHA = 0.2
"""α above: what the past counts for, as in TVM's ``GradientBased``."""

MOST = 4
"""Largest multiple of the trials per task that one task may take."""


@dataclass(frozen=True)
class Budget:
    """How many trials a network may take.

    Parameters
    ----------
    trials_per_task : int
        Mean over the tasks, >= 1.
    tasks : int
        >= 1.
    """

    trials_per_task: int
    tasks: int

    @property
    def total(self) -> int:
        return self.trials_per_task * self.tasks

    @property
    def floor(self) -> int:
        """What every task gets before any gets more."""
        return max(1, self.trials_per_task // 2)

    @property
    def most(self) -> int:
        """What one task may get."""
        return MOST * self.trials_per_task

    def left(self, standings: Sequence[Standing]) -> int:
        """Trials that are not used up; of a task at most `most` count. Below 0 where overdrawn."""
        return self.total - sum(min(one.trials, self.most) for one in standings)

    def planned(self, standings: Sequence[Standing]) -> int:
        """Trials of all tasks when the budget is used up, those that there are included."""
        floors = sum(max(0, self.floor - one.trials) for one in standings)
        return sum(one.trials for one in standings) + max(self.left(standings), floors)

    def is_starved(self, one: Standing) -> bool:
        """Whether a task is measured though the budget may be used up."""
        return not one.ended and one.trials < self.floor


@dataclass(frozen=True)
class Standing:
    """How a task stands.

    Parameters
    ----------
    weight : int
        Calls in one run of the network.
    flops : float
        Of one call.
    trials : int
        Measured so far, failed ones too.
    best_s : float
        Best latency, seconds; inf where none ran.
    previous_s : float
        Best latency before the last round; inf where there was none.
    last : int
        Trials of the last round.
    ended : bool
        Whether there is nothing left to measure.
    """

    weight: int
    flops: float
    trials: int = 0
    best_s: float = math.inf
    previous_s: float = math.inf
    last: int = 0
    ended: bool = False


def next_tasks(standings: Sequence[Standing], budget: Budget, count: int) -> list[int]:
    """Choose the tasks of the next wave, by their position; none when the budget is used up.

    Tasks below the floor come first, and are chosen whatever is left.

    Parameters
    ----------
    standings : sequence of Standing
    budget : Budget
    count : int
        Most tasks to choose, >= 1.
    """
    starved = [i for i, one in enumerate(standings) if budget.is_starved(one)]
    if starved:
        return starved[:count]
    if budget.left(standings) <= 0:
        return []
    open_ = [i for i, one in enumerate(standings) if not one.ended and one.trials < budget.most]
    rate = best_rate(standings)
    gains = sorted((-gain(standings[i], rate), i) for i in open_)
    return [i for _, i in gains[:count]]


def gain(one: Standing, rate: float) -> float:
    """Seconds of a run of the network that a further trial of a task should save.

    Parameters
    ----------
    one : Standing
    rate : float
        Best rate of any task, FLOP/s.
    """
    if math.isinf(one.best_s):
        return math.inf if one.trials == 0 else 0.0
    backward = 0.0
    if one.last and math.isfinite(one.previous_s):
        backward = (one.previous_s - one.best_s) / one.last
    bound = one.flops / rate if rate > 0 else 0.0
    forward = max(0.0, min(one.best_s / max(1, one.trials), one.best_s - bound))
    return one.weight * (ALPHA * backward + (1 - ALPHA) * forward)


def best_rate(standings: Sequence[Standing]) -> float:
    """Best rate that any task has reached, FLOP/s; 0 where none ran."""
    return max((one.flops / one.best_s for one in standings if one.best_s > 0), default=0.0)
