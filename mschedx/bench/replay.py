"""Run a search against recorded measurements: no hardware, no compiler, the same answer each time.

The records of a work_dir become a landscape over the sketches' configs: a recorded config has its
recorded latency, any other what boosted trees fitted to all records say of it, from decisions and
derived quantities. What a search finds on it is no claim about a machine; it is a claim about the
search, cheap enough for twenty seeds and exact enough for a regression test. One caution: a search
whose cost model is of the landscape's kind has it easier here than on a machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mschedx.bench.named import find_named, made_by
from mschedx.bench.named_parts import STRATEGIES, TVM_STRATEGIES, NamedStrategy, find_model
from mschedx.search.base import Candidate, Search, TaskSearch
from mschedx.search.growing import searchable, searched
from mschedx.search.history import History
from mschedx.search.points import Points, SketchSet
from mschedx.search.scoring import ArrayScorer, NoScorer, measured_by_sketch

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch

FloatArray = np.ndarray
_FAILED = 1.0
"""How far, in natural-log units, a failed record is put behind the slowest that ran."""


@dataclass
class Landscape:
    """Latencies of all points, from those of some.

    Parameters
    ----------
    space : SketchSet
    points : Points [n]
        Recorded ones, at least one that ran.
    latency_s : float64 array [n]
        Seconds, > 0; inf for those that failed.
    """

    space: SketchSet
    points: Points
    latency_s: FloatArray
    _known: dict[bytes, float] = field(init=False, repr=False)
    _model: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not np.isfinite(self.latency_s).any():
            raise ValueError("expected records of which at least one ran, got none that did")
        self._known = dict(zip(self.points.codes(), self.latency_s.tolist()))
        self._model = _fitted(self.space, self.points, self.latency_s)

    @property
    def best_s(self) -> float:
        """The best recorded latency, seconds."""
        return float(self.latency_s.min())

    def recorded(self, points: Points) -> np.ndarray:
        """Tell which points are recorded, bool [n]."""
        return np.array([code in self._known for code in points.codes()], dtype=bool)

    def latency(self, points: Points) -> FloatArray:
        """Give latencies, seconds [n]; inf where the trees put a point below the slowest record."""
        groups = self.space.groups(points)
        scores = np.empty(len(points))
        order = np.concatenate([positions for _, positions, _ in groups])
        asked = [(self.space.sketches[s], configs) for s, _, configs in groups]
        scores[order] = self._model.score(self.space.task, asked)
        ran = self.latency_s[np.isfinite(self.latency_s)]
        predicted = self.best_s / scores
        failing = predicted > ran.max() * np.exp(_FAILED / 2)
        guesses = np.where(failing, np.inf, np.clip(predicted, self.best_s, ran.max()))
        codes = points.codes()
        return np.array([self._known.get(c, float(g)) for c, g in zip(codes, guesses)])


def _fitted(space: SketchSet, points: Points, latency_s: FloatArray) -> Any:
    """Fit a model to records: its score is the best latency divided by a point's."""
    from mschedx.cost import HeronXGB, TreeConfig

    model = HeronXGB(TreeConfig(failure_margin=_FAILED)).model
    model.learn(space.task, measured_by_sketch(History(points, latency_s), space))
    return model


class OwnPrograms:
    """Stands in for a `Materializer`: every point is a program of its own."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}

    def __call__(self, points: Points) -> list[Candidate]:
        return [
            Candidate(points.take(np.array([i])), None, hash(code))
            for i, code in enumerate(points.codes())
        ]

    def forget(self) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A search and the cost model it learns with; both are made afresh for every run."""

    name: str
    search: Callable[[], Search]
    model: Callable[[], Any] | None = None


def contenders() -> dict[str, Contender]:
    """The searches that can be replayed, by name: all of `STRATEGIES` but TVM's, and ablations."""
    from mschedx.search import Descent, DescentConfig, EvolutionConfig, Keys
    from mschedx.search.constrained_evolution import Evolution

    ablations = (
        Contender(
            "heron-random-keys",
            lambda: Evolution(EvolutionConfig(keys=Keys.RANDOM)),
            partial(_model, "heron-xgb"),
        ),
        Contender("felix-undrafted", lambda: Descent(DescentConfig()), partial(_model, "felix")),
        Contender(
            "felix-evolution", lambda: Evolution(EvolutionConfig()), partial(_model, "felix")
        ),
    )
    ours = [
        Contender(name, partial(_search, strategy), _beside(name, strategy))
        for name, strategy in STRATEGIES.items()
        if name not in TVM_STRATEGIES
    ]
    return {contender.name: contender for contender in (*ours, *ablations)}


def _search(strategy: NamedStrategy) -> Search:
    # A strategy of its own: what drafts learns, too.
    return strategy.make().make_search()


def _beside(name: str, strategy: NamedStrategy) -> Callable[[], Any] | None:
    """What makes the model that a search learns with by default; None if it asks none."""
    return None if name == "random" else partial(_model_beside, strategy)


def _model_beside(strategy: NamedStrategy) -> Any:
    if strategy.beside is not None:
        return _model(strategy.beside)
    from mschedx.search.gradients import model_beside

    return model_beside(strategy.make()).model


def _model(name: str) -> Any:
    return find_model(name)().model


def find_contender(name: str, known: Mapping[str, Contender]) -> Contender:
    """Look a contender up: a known one, or ``module:function`` of a user's own.

    The function takes nothing and returns a `Contender`.
    """
    return find_named(name, known, _own, "strategy")


def _own(name: str, function: Callable[..., Any]) -> Contender:
    found = made_by(name, function)
    if not isinstance(found, Contender):
        raise ValueError(
            f"expected {name}() to return a mschedx.bench.replay.Contender, got "
            f"{type(found).__name__}"
        )
    return replace(found, name=name)


def replay_search(
    landscape: Landscape, contender: Contender, *, trials: int, batch: int, seed: int
) -> tuple[FloatArray, float]:
    """Run one search.

    Returns
    -------
    latency_s : float64 array [m]
        Of what it measured, in order, m <= trials; fewer when the space has no more.
    recorded : float
        Share of them that were recorded, the rest being interpolated.
    """
    model = contender.model() if contender.model else None
    scorer = NoScorer() if model is None else ArrayScorer(model, landscape.space)
    task = TaskSearch(
        landscape.space,
        contender.search(),
        scorer,
        OwnPrograms(),  # type: ignore[arg-type]
        trials=trials,
        batch=batch,
        rng=np.random.default_rng(seed),
        history=History.of(landscape.space),
    )
    latencies: list[FloatArray] = []
    recorded = 0
    while (found := task.next_batch()) is not None:
        points = Points.concatenate([candidate.point for candidate in found])
        latencies.append(landscape.latency(points))
        recorded += int(landscape.recorded(points).sum())
        task.tell(latencies[-1])
    measured = np.concatenate(latencies) if latencies else np.empty(0)
    return measured, recorded / max(1, len(measured))


def load_landscape(path: str | Path, workload: int | None = None, space: Any = None) -> Landscape:
    """Read the records of a work_dir.

    Parameters
    ----------
    path : str | Path
        A work_dir of ours or of stock TVM.
    workload : int, optional
        Line in ``database_workload.json``; the one with most records when None.
    space : optional
        The space that was tuned in, as :func:`mschedx.space.sketches` takes it.

    Raises
    ------
    ValueError
        If there are no records, or none of the workload, or none of them is a config of that space,
        or that has no valid config.
    """
    from tvm.target import Target

    from mschedx import compat
    from mschedx.record.schedules import load_database
    from mschedx.record.trials import read_run
    from mschedx.search.warm_start import recall
    from mschedx.space import sketches

    run = read_run(path, workload)
    if not run.records:
        raise ValueError(f"{path} has no records of workload {run.workload}")
    described = next(iter(run.records.values()))[2]
    target = Target(described)
    with compat.only_intrinsics(target):
        database = load_database(run)
        mod = database.get_all_tuning_records()[0].workload.mod
        opened = SketchSet(searchable(sketches(mod, target, space), _whole))
        history, _ = recall(database, mod, target, opened, lambda module: 0)
    if not len(history):
        raise ValueError(
            f"none of the {len(run.records)} records in {path} is a config of this space; pass the "
            "space that was tuned in (--space post-order-apply for TVM's own)"
        )
    return Landscape(opened, history.points, history.latency_s)


def _whole(sketch: Sketch) -> Sketch:
    """A sketch that a search would open, with all of its configs: any may have been recorded."""
    searched(sketch)
    return sketch


def compare_searches(
    landscape: Landscape,
    chosen: Sequence[Contender],
    *,
    seeds: int,
    trials: int,
    batch: int,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, FloatArray]:
    """Best latency after each trial: seconds [seeds, trials] by name."""
    curves: dict[str, FloatArray] = {}
    for contender in chosen:
        rows = []
        for seed in range(seeds):
            measured, recorded = replay_search(
                landscape, contender, trials=trials, batch=batch, seed=seed
            )
            padded = np.full(trials, np.inf)
            padded[: len(measured)] = measured
            rows.append(np.minimum.accumulate(padded))
            say(f"{contender.name} {seed}: {rows[-1][-1] * 1e6:.1f} us, {recorded:.0%} recorded")
        curves[contender.name] = np.array(rows)
    return curves
