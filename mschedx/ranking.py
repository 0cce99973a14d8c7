"""``rank``: the best configs of a workload with no measurement, and why they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mschedx import compat
from mschedx.cost.adapter import model_behind
from mschedx.cost.base import Logarithmic
from mschedx.cost.consensus import ConsensusModel
from mschedx.cost.learned.shipped import CPU
from mschedx.cost.psa import PSAModel
from mschedx.inputs import check_seed, check_trials, normalize_mod, normalize_target
from mschedx.record.programs import program_hash
from mschedx.search.build_effort import BuildEffort
from mschedx.search.expected_best import DEVIATION, by_expected_best, distances
from mschedx.search.growing import sampled_part, searchable
from mschedx.search.moves import neighbours
from mschedx.search.points import FloatArray, IntArray, Points, SketchSet
from mschedx.search.pool import Scored, gather
from mschedx.search.scoring import ArrayScorer
from mschedx.space.errors import NOT_SEARCHABLE, InvalidSchedule

if TYPE_CHECKING:
    from tvm import IRModule, tirx
    from tvm.s_tir import Schedule
    from tvm.target import Target

    from mschedx.cost.adapter import TVMCostModel
    from mschedx.cost.analytical.costs import Costs
    from mschedx.cost.base import CostModel
    from mschedx.space.sketch import Sketch
    from mschedx.space.task import Task

POOL = 2048
"""Configs drawn at first."""

VERIFIED = 512
"""How many of the best the second opinion is asked about, where there is one, and chosen from."""

MOST_REFUSED = 512
"""How many in a row may make no program, or one that is there already, before no more is sought."""

GENERATIONS, PARENTS = 4, 256
"""How often the best are moved a little, and how many of them."""

SHARE = 0.05
"""Of the time, from which on a statement is worth mentioning."""


class NothingToRank(ValueError):
    """No config becomes a program, of our own space or of those tried; says why."""


@dataclass(frozen=True)
class Reason:
    """What one statement costs, and what it waits for most."""

    statement: str
    seconds: float
    cause: str

    def __str__(self) -> str:
        return f"{self.statement} {self.seconds * 1e6:.3g} us ({self.cause})"


@dataclass(frozen=True, eq=False)
class Ranked:
    """One config and what is predicted of it.

    Parameters
    ----------
    sketch : Sketch
    config : int64 array [D]
    latency_s : float
        Predicted by PSA, seconds; another model decides the order only. inf where PSA understands
        no statement.
    reasons : tuple of Reason
        By statement, the longest first.
    left_out : tuple of str
        Statements that the prediction is without, each with the number that has no expression.
    """

    sketch: Sketch
    config: np.ndarray
    latency_s: float
    reasons: tuple[Reason, ...]
    left_out: tuple[str, ...] = ()

    def schedule(self) -> Schedule:
        """Materialise the config, postprocs applied."""
        return self.sketch.schedule(self.config)

    @cached_property
    def mod(self) -> IRModule:
        """The scheduled module, materialised once."""
        return self.schedule().mod

    def decisions(self) -> dict[str, int]:
        """The config by name, what is fixed left out."""
        return {
            d.name: int(v) for d, v in zip(self.sketch.decisions, self.config) if len(d.domain) > 1
        }

    def main_reasons(self) -> tuple[Reason, ...]:
        """Those of statements that take a `SHARE` of the time or more; the longest one anyway."""
        least = SHARE * self.latency_s
        return self.reasons[:1] + tuple(one for one in self.reasons[1:] if one.seconds >= least)


def rank(
    mod: IRModule | tirx.PrimFunc,
    target: Target | dict[str, Any] | str | None = None,
    limit: int = 16,
    *,
    model: CostModel | TVMCostModel | str | Path | None = None,
    space: Any = None,
    seed: int = 0,
) -> list[Ranked]:
    """Rank configs of a workload without measuring any.

    Parameters
    ----------
    mod : IRModule or PrimFunc
    target : Target, dict or str, optional
        This machine when None.
    limit : int
        How many to return; fewer where the space has no more, or none among the next 512.
    model : CostModel, TVMCostModel, str or path, optional
        Anything that is ready without a measurement. The name of a model that comes with the
        package, or a file that ``mschedx train`` wrote: the best by PSA are ordered by both
        (`mschedx.cost.Consensus`); on a processor that it was not trained on PSA chooses the
        first, and either may be right about the others. ``"psa"``: by PSA alone. None: what ranks
        best, PSA in our spaces, both of PSA and ``"cpu"`` in ``space="post-order-apply"`` of CPUs
        (docs/benchmarks/ranking.md).
    space : optional
        As `mschedx.space.sketches` takes it.
    seed : int

    Returns
    -------
    list of Ranked
        The best first; no two give the same program. In ``space="post-order-apply"``, where
        predictions are further off, each of the others is what adds most to the expected speed of
        the fastest (`search.expected_best`): the second may be predicted slower than the third.
        Programs that LLVM would be busy with for long come last (`search.build_effort`).

    Warns
    -----
    StandInWarning
        Where figures of the target's device are not known (`mschedx.hardware.stand_in`).

    Raises
    ------
    ValueError, TypeError
        For input that cannot be tuned, a space without a valid config or one of which no config
        becomes a program, or a model that is not ready, is of another kind of target, or is no
        `CostModel`.
    FileNotFoundError
        For a model that neither comes with the package nor is a file.
    """
    limit, seed = check_trials(limit, "limit"), check_seed(seed)
    module, resolved = normalize_mod(mod), normalize_target(target)
    compat.check_versions()
    judge = _judge(model, resolved, space)
    sketches = opened(module, resolved, space)
    return best_of(sketches, limit, judge, np.random.default_rng(seed), deviation_in(space))


def deviation_in(space: Any) -> float:
    """How far off predictions are in a space, for `best_of`: known of TVM's own, else 0.

    In mschedx's it is little, and the order of predictions as good (docs/benchmarks/ranking.md,
    "Which few to try"); of others nothing was measured.
    """
    return DEVIATION if _is_tvms(space) else 0.0


def _is_tvms(space: Any) -> bool:
    return isinstance(space, str) and space == "post-order-apply"


def _judge(model: Any, target: Target, space: Any) -> CostModel | None:
    """What ranks: a model, the opinion of a trained one beside PSA's, or PSA alone (None)."""
    if model is None:
        model = CPU if _is_tvms(space) and target.kind.name == "llvm" else "psa"
    if model == "psa":
        return None
    if isinstance(model, (str, Path)):
        return ConsensusModel(model, mcpu=str(target.attrs.get("mcpu", "generic")))
    return model_behind(model)


def ranking_model(
    cost_model: Any, tasks: Sequence[Task]
) -> tuple[CostModel | None, tuple[str, ...]]:
    """The model that ranks for a cost model of a tuner, None for the default; and notes on it.

    Parameters
    ----------
    cost_model
        As ``ms.tune_tir`` takes it, or None. TVM's own say nothing before they have learnt, nor do
        others that have seen no trial and no weights.
    tasks : sequence of Task
        What is to be ranked.
    """
    if cost_model is None or (isinstance(cost_model, str) and cost_model == "none"):
        return None, ()
    name = cost_model if isinstance(cost_model, str) else type(cost_model).__name__
    try:
        model = model_behind(cost_model)
    except TypeError:
        model = None
    if model is not None and all(model.ready(task) for task in tasks):
        return model, ()
    return None, (f'ranked by PSA: the cost model "{name}" says nothing before it has learnt',)


def opened(mod: IRModule, target: Target, space: Any = None) -> list[Sketch]:
    """Open the sketches that have valid configs.

    Raises
    ------
    NothingToRank
        When our own space has none, with the reasons.
    ValueError
        When a space that was asked for has none.
    """
    from mschedx.space import sketches

    try:
        return searchable(sketches(mod, target, space), sampled_part)
    except NOT_SEARCHABLE as error:
        if space is not None:
            raise
        raise NothingToRank(str(error)) from error


def best_of(
    sketches: Sequence[Sketch],
    limit: int,
    model: CostModel | None,
    rng: np.random.Generator,
    deviation: float = 0.0,
) -> list[Ranked]:
    """Draw configs, move the best ones a little a few times, and keep the best of all.

    With a ``deviation`` of the errors of ln(seconds), > 0, the first is the best and each further
    one adds most to what the fastest of them is expected to be (`search.expected_best`), wherever
    scores say how much faster a program is: PSA's do, and those of a `Logarithmic` model.

    Where a trained network gives a second opinion, both together choose the first on processors
    that the network was trained on, and PSA on others, where nobody knows which is the better
    guide. Further ones are chosen as if either opinion may be the right one; without a deviation
    the two take turns, or both together order them where they know the processor. Those that LLVM
    would be busy with for long come behind all others, whatever is predicted.
    """
    psa = model if isinstance(model, PSAModel) else PSAModel()
    judge = psa if model is None else model
    second = judge if isinstance(judge, ConsensusModel) else None
    if second is not None:
        psa = judge = second.psa
    space = SketchSet(sketches)
    if not (second or judge).ready(space.task):
        raise ValueError(
            f"expected a model that is ready without a measurement, got {type(judge).__name__} "
            "before it has learnt anything: load a pretrained file, or leave model out"
        )
    scorer = ArrayScorer(judge, space)
    pool = Scored.by(scorer, gather(space.sample(max(POOL, 2 * limit), rng)))
    for _ in range(GENERATIONS):
        parents = pool.best(PARENTS).points
        moved = Points.concatenate([neighbours(space, parents, rng) for _ in range(4)])
        fresh = moved.distinct(pool.points.codes())
        pool = pool.merged(Scored.by(scorer, fresh))
    great = BuildEffort(space).is_great(pool.points)
    kept = pool.take(~great).best(len(pool))
    few = kept.take(np.arange(min(max(VERIFIED, 2 * limit), len(kept))))
    opinions = [_Opinion(judge, few.scores)]
    known = second is not None and second.knows(space.task)
    if second is not None and len(few):
        opinions.append(_Opinion(second, ArrayScorer(second, space).score(few.points)))
    if known:
        opinions.reverse()
    apart = distances(few.points, few.points, space) if deviation else None
    order = _order(opinions, known, 2 * limit, apart, deviation, rng)
    points = Points.concatenate([few.points.take(order), kept.points]).distinct()
    last = pool.take(great).best(len(pool)).points
    return _distinct(Points.concatenate([points, last]), space, limit, psa, space.task)


@dataclass(frozen=True)
class _Opinion:
    """Scores [n] by a model."""

    model: CostModel
    scores: FloatArray

    @property
    def log_speed(self) -> FloatArray | None:
        """ln(1 / seconds), where scores say how much faster a program is."""
        if isinstance(self.model, Logarithmic):
            return self.scores / self.model.logarithmic
        return np.log(self.scores) if isinstance(self.model, PSAModel) else None


def _order(
    opinions: Sequence[_Opinion],
    known: bool,
    count: int,
    apart: FloatArray | None,
    deviation: float,
    rng: np.random.Generator,
) -> IntArray:
    """Positions of n configs: by what each adds, where distances [n, n] are given, else by scores.

    Where one opinion is known to be the better guide it is the first, and its order alone counts;
    else they take turns.
    """
    log_speed = [speed for one in opinions if (speed := one.log_speed) is not None]
    if apart is not None and len(log_speed) == len(opinions):
        return by_expected_best(np.stack(log_speed), apart, count, rng, deviation)
    orders = [np.argsort(-one.scores, kind="stable") for one in opinions]
    return orders[0] if known else np.stack(orders, axis=1).ravel()


def _distinct(
    points: Points, space: SketchSet, limit: int, psa: PSAModel, task: Task
) -> list[Ranked]:
    """Explain the first points that make different programs, as far as materialising tells.

    Every point takes milliseconds: the search ends after `MOST_REFUSED` that brought nothing new.

    Raises
    ------
    NothingToRank
        When none of the first makes one.
    """
    found: list[Ranked] = []
    programs: set[int] = set()
    refused: Counter[str] = Counter()
    in_vain = 0
    for position in range(len(points)):
        if len(found) == limit or in_vain == MOST_REFUSED:
            break
        in_vain += 1
        sketch, config = space.sketches[points.sketch[position]], space.config(points, position)
        ranked = explained(psa, task, sketch, config)
        try:
            program = program_hash(ranked.mod)
        except InvalidSchedule as error:
            refused[error.reason] += 1
            continue
        if program not in programs:
            programs.add(program)
            found.append(ranked)
            in_vain = 0
    if not found:
        raise NothingToRank(
            f"none of the {refused.total()} best configs of {task.name} becomes a program: "
            f"{dict(refused)}"
        )
    return found


def explained(psa: PSAModel, task: Task | None, sketch: Sketch, config: np.ndarray) -> Ranked:
    """Predict a config, corrected by what was measured of a task if one is given."""
    costs = psa.costs(sketch, config[None])
    unknown = psa.unknown(sketch)
    blind = bool(unknown) and not costs.statements
    return Ranked(
        sketch,
        config,
        latency_s=math.inf if blind else float(psa.corrected(task, costs)[0]),
        reasons=_reasons(costs),
        left_out=tuple(f"without {name}: {why} has no expression" for name, why in unknown.items()),
    )


def _reasons(costs: Costs) -> tuple[Reason, ...]:
    found = [Reason(one.name, float(one.seconds[0]), one.cause(0)) for one in costs.statements]
    return tuple(sorted(found, key=lambda reason: -reason.seconds))
