"""Searches as MetaSchedule strategies: the one adapter between them and TVM.

TVM clones a strategy per task, initialises the prototype and every clone several times, and passes
handles instead of objects. A strategy therefore holds its parameters only, until `pre_tuning`
makes the task's `TaskSearch`; it never keeps the tuning context, which would keep the strategy
alive in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate, PySearchStrategy

from mschedx.cost.adapter import latency_s, live_model
from mschedx.space.errors import EmptySpace, UnsupportedTrace

from .base import Candidate, Materializer, Search, TaskSearch, logger
from .points import Points, SketchSet
from .scoring import ArrayScorer, CandidateScorer, NoScorer, Scorer
from .warm_start import recall

if TYPE_CHECKING:
    from mschedx.space.sketch import Sketch


def round_size(trials: int) -> int:
    """Candidates per round for a run of so many trials: an eighth of them, between 8 and 32."""
    return min(max(trials // 8, 8), 32)


class Strategy(PySearchStrategy):
    """Base of our strategies; subclasses are decorated with ``@derived_object``.

    Parameters
    ----------
    batch : int, optional
        Most candidates per round, `round_size` of the trials when None; TVM's
        ``num_trials_per_iter`` is the other bound.
    pool : int
        Most candidates to materialise per round for a cost model that cannot score arrays.
    """

    def __init__(self, batch: int | None, pool: int) -> None:
        super().__init__()
        self._round, self._pool = batch, pool
        self._task: TaskSearch | None = None

    def make_search(self) -> Search:
        """Return a fresh search for one task."""
        raise NotImplementedError

    def _initialize_with_tune_context(self, context: Any) -> None:
        self._mod, self._target, self._name = context.mod, context.target, context.task_name
        self._seed, self._threads = context.rand_state, context.num_threads
        generator = context.space_generator
        self._postprocs = None if generator is None else generator.postprocs

    def pre_tuning(
        self,
        max_trials: int,
        num_trials_per_iter: int,
        design_spaces: Sequence[Any],
        database: Any = None,
        cost_model: Any = None,
    ) -> None:
        for name, value in (
            ("max_trials", max_trials),
            ("num_trials_per_iter", num_trials_per_iter),
        ):
            if value < 1:
                raise ValueError(f"task {self._name}: expected {name} >= 1, got {value}")
        space = self._open(design_spaces)
        history, programs = recall(database, self._mod, self._target, space, _program_hash)
        materialize = Materializer(space, _program_hash)
        self._task = TaskSearch(
            space,
            self.make_search(),
            self._scorer(cost_model, space, materialize),
            materialize,
            trials=max_trials,
            batch=min(self._round or round_size(max_trials), num_trials_per_iter),
            rng=np.random.default_rng(self._seed),
            history=history,
            programs=tuple(programs),
        )

    def generate_measure_candidates(self) -> list[MeasureCandidate] | None:
        batch = self._running().next_batch()
        return None if batch is None else [_measurable(candidate) for candidate in batch]

    def notify_runner_results(
        self, measure_candidates: Sequence[Any], results: Sequence[Any]
    ) -> None:
        del measure_candidates  # the batch just generated, in its order
        self._running().tell(np.array([latency_s(result) for result in results]))

    def post_tuning(self) -> None:
        self._task = None

    def _running(self) -> TaskSearch:
        if self._task is None:
            raise RuntimeError("expected pre_tuning before the first round and after post_tuning")
        return self._task

    def _open(self, design_spaces: Sequence[Any]) -> SketchSet:
        """Analyse the design spaces, leaving out those that are empty or not understood."""
        sketches: list[Sketch] = []
        families: list[int] = []
        refused: list[str] = []
        for index, schedule in enumerate(design_spaces):
            opened = self._analyse(schedule)
            if isinstance(opened, list):
                sketches += opened
                families += [index] * len(opened)
            else:
                refused.append(f"design space {index}: {opened}")
                logger.warning("task %s, %s", self._name, refused[-1])
        if not sketches:
            reasons = "; ".join(refused) or "the space generator returned no design space"
            # A plain ValueError: TVM's calling convention keeps no other class than the built-in.
            raise ValueError(
                f"task {self._name}: nothing to search for target {self._target.kind.name}: "
                f"{reasons}. Check that space= suits this workload and target."
            )
        return SketchSet(sketches, families)

    def _analyse(self, schedule: Any) -> list[Sketch] | str:
        """The sketches of one design space, or why there is none."""
        from mschedx.space.sketch import sketches_from

        try:
            found = sketches_from([schedule], self._mod, self._target, self._postprocs)
            found = [sketch.narrowed(preferences=True) for sketch in found]
        except (EmptySpace, UnsupportedTrace) as error:
            return str(error)
        reasons: list[str] = []
        kept = [sketch for sketch in found if not _empty(sketch, reasons)]
        return kept or "; ".join(reasons)

    def _scorer(self, cost_model: Any, space: SketchSet, materialize: Materializer) -> Scorer:
        if cost_model is None:
            return NoScorer()
        model = live_model(cost_model)
        if model is not None:
            return ArrayScorer(model, ms.utils.shash2hex(self._mod), space)
        # A context of its own, without strategy: the task's would tie this object into a cycle.
        context = ms.TuneContext(
            self._mod,
            target=self._target,
            num_threads=self._threads,
            task_name=self._name,
            rand_state=self._seed,
        )

        def candidates(points: Points) -> list[Any]:
            return [None if c is None else _measurable(c) for c in materialize(points)]

        return CandidateScorer(
            lambda measurable: cost_model.predict(context, measurable), candidates, self._pool
        )


def _empty(sketch: Sketch, reasons: list[str]) -> bool:
    """Tell whether a sketch has no valid config; if so, the sampler's reason is appended."""
    try:
        sketch.sample(1, np.random.default_rng(0))
    except EmptySpace as error:
        reasons.append(str(error))
        return True
    return False


def _measurable(candidate: Candidate) -> MeasureCandidate:
    schedule = candidate.schedule
    return MeasureCandidate(schedule, ms.arg_info.ArgInfo.from_entry_func(schedule.mod, True))


def _program_hash(mod: Any) -> int:
    import tvm_ffi

    return int(tvm_ffi.structural_hash(mod))
