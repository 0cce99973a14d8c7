"""Searches as MetaSchedule strategies: the one adapter between them and TVM.

TVM clones a strategy per task, initialises the prototype and every clone several times, and passes
handles instead of objects. A strategy therefore holds its parameters only, until `pre_tuning`
makes the task's `TaskSearch`; it never keeps the tuning context, which would keep the strategy
alive in turn.

A new search is one file: the algorithm, and a subclass of `Strategy` that says how to make it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate
from tvm.s_tir.meta_schedule.search_strategy.search_strategy import _PySearchStrategy

from mschedx.cost.adapter import Conversation, conversation_behind, is_ready
from mschedx.cost.base import MOST_ANALYSED
from mschedx.error_text import first_line
from mschedx.latency import latency_s
from mschedx.ranges import require_count
from mschedx.record.programs import program_hash
from mschedx.space.errors import NOT_SEARCHABLE
from mschedx.space.task import Task
from mschedx.told import pass_on

from .as_it_is import unscheduled_candidate
from .base import Candidate, Materializer, Search, TaskSearch, logger
from .given import Given
from .growing import GrowingSet, left_out
from .points import Points, SketchSet
from .scoring import ArrayScorer, CandidateScorer, NoScorer, Scorer
from .warm_start import recall

if TYPE_CHECKING:
    from tvm.s_tir import Schedule, Trace

    from mschedx.space.sketch import Sketch


def round_size(trials: int) -> int:
    """Candidates per round for a run of so many trials: an eighth of them, between 8 and 32."""
    return min(max(trials // 8, 8), 32)


class Strategy(_PySearchStrategy):
    """A search as ``strategy=`` of ``ms.tune_tir``, with any space and any cost model.

    Parameters
    ----------
    make_search : callable
        Returns a fresh search for one task.
    batch : int, optional
        Most candidates per round, `round_size` of the trials when None; TVM's
        ``num_trials_per_iter`` is the other bound.
    pool : int
        Most candidates to materialise per round for a cost model that cannot score arrays.
    drafts : bool
        Whether the search scores points of its own before anything is measured.
    gradients : bool
        Whether the search stops where the cost model has no gradients (`search.gradients`).
    given : Given, optional
        What the user knows of the task, see `restricted`.
    alone : bool
        See `alone`.

    Attributes
    ----------
    make_search : callable
    batch : int or None
    gradients : bool
    given : Given

    Raises
    ------
    ValueError
        For a batch or pool below 1.
    """

    __slots__ = ("__dict__", "__weakref__")

    def __init__(
        self,
        make_search: Callable[[], Search],
        *,
        batch: int | None = None,
        pool: int = 1,
        drafts: bool = False,
        gradients: bool = False,
        given: Given | None = None,
        alone: bool = False,
    ) -> None:
        self._form = form = _Form(
            make_search=make_search,
            batch=None if batch is None else require_count("batch", batch),
            pool=require_count("pool", pool),
            drafts=drafts,
            gradients=gradients,
            given=Given() if given is None else given,
            alone=alone,
        )
        self.make_search, self.batch = form.make_search, form.batch
        self.gradients, self.given = form.gradients, form.given
        # TVM keeps these callbacks: were they methods of this object, it would keep itself alive.
        rounds = _Rounds(form)
        super().__init__(
            rounds.initialize,
            rounds.pre_tuning,
            rounds.post_tuning,
            rounds.generate_measure_candidates,
            rounds.notify_runner_results,
            partial(_of_form, form),
        )

    # What it does lies in callbacks that TVM's object holds, and that no copy of TVM's would have.

    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        Strategy.__init__(made, **vars(self._form))
        vars(made).update(vars(self))
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()  # it holds nothing that a run changes, as TVM's clones

    def __reduce__(self) -> Any:
        raise TypeError(
            f"expected a {type(self).__name__} to be used in the process that made it, and it "
            "cannot be pickled: make it in the other process, from a function or its parameters"
        )

    def restricted(
        self, sketches: Sequence[Sketch] = (), start: Sequence[Schedule | Trace] = ()
    ) -> Strategy:
        """Return this search with fewer sketches, or with programs to measure first.

        What is left out stays as it was given before.

        Parameters
        ----------
        sketches : sequence of Sketch
            Search these instead of the design spaces that TVM hands over. They are of one task;
            others are searched as always.
        start : sequence of Schedule or Trace
            Measure these first, in this order, where they are of the task: those of functions with
            other parameters or block names are left to the tasks of these. Others that no sketch
            holds raise ``ValueError`` when tuning begins.
        """
        before = self.given
        given = replace(
            before,
            sketches=tuple(sketches) or before.sketches,
            start=tuple(start) or before.start,
        )
        return _of_form(replace(self._form, given=given))

    def of_one_task(self) -> Strategy:
        """Return this search for a run of one task, of which all programs to start from must be."""
        return _of_form(replace(self._form, given=replace(self.given, one_task=True)))

    def alone(self) -> Strategy:
        """Return this search for a caller that deals with what is raised for one task.

        What a strategy raises for one task of TVM's ends the run of all. A task that cannot be
        searched is therefore measured as it is, with a warning that names it and the reason; by
        what this returns the reason is raised, as ``ValueError`` where there is nothing to search.
        """
        return _of_form(replace(self._form, alone=True))


@dataclass(frozen=True, kw_only=True)
class _Form:
    """What a strategy is, and what is made of it for every task; fields as of `Strategy`."""

    make_search: Callable[[], Search]
    batch: int | None
    pool: int
    drafts: bool
    gradients: bool
    given: Given
    alone: bool


def _of_form(form: _Form) -> Strategy:
    return Strategy(**vars(form))


class _Rounds:
    """One task's conversation with TVM."""

    def __init__(self, form: _Form) -> None:
        self._form = form
        self._running: TaskSearch | None = None
        self._unsearched = self._as_it_is = self._begun = False
        self._conversation: Conversation | None = None

    def initialize(self, context: Any) -> None:
        self._begun = False  # whoever was interrupted may begin again
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
        if self._begun:  # the tasks of all contexts would be searched as the last one's
            raise ValueError(
                f"task {self._name}: expected post_tuning between two pre_tuning, got none: a "
                "strategy serves one context at a time. Clone the contexts, or make a strategy "
                "for each"
            )
        for name, value in (
            ("max_trials", max_trials),
            ("num_trials_per_iter", num_trials_per_iter),
        ):
            require_count(f"{name} of task {self._name}", value)
        self._running, self._unsearched, self._as_it_is = None, False, False
        form, rng = self._form, np.random.default_rng(self._seed)
        task = Task.of(self._mod, self._target, self._name)
        batch = min(form.batch or round_size(max_trials), num_trials_per_iter)
        space = form.given.spaces(task, self._mod)
        if space is None:
            scored = form.drafts or is_ready(cost_model, task)
            space = self._opened(design_spaces, task, rng, scored and max_trials > batch)
        if space is None:
            self._begun = True
            return
        history, programs = recall(database, self._mod, self._target, space, program_hash)
        materialize = Materializer(space, program_hash)
        scorer = self._scorer(cost_model, space, materialize)
        self._running = TaskSearch(
            space,
            form.make_search(),
            scorer,
            materialize,
            trials=max_trials,
            batch=batch,
            rng=rng,
            history=history,
            programs=tuple(programs),
            first=form.given.first(space, self._mod) if form.given.start else None,
        )
        if self._conversation is not None:
            self._conversation.begin(space.task, space.sketches, driver=self._running)
        self._begun = True

    def generate_measure_candidates(self) -> list[MeasureCandidate] | None:
        if self._as_it_is:
            return None
        if not self._unsearched:
            task = self._task()
            batch = task.next_batch()
            if batch is not None:
                return [_measurable(candidate) for candidate in batch]
            if not task.nothing_found:
                return None
        self._as_it_is = True
        return [unscheduled_candidate(self._mod)]

    def notify_runner_results(
        self, measure_candidates: Sequence[Any], results: Sequence[Any]
    ) -> None:
        if self._as_it_is:  # no point of the space
            return
        programs = [program_hash(candidate.sch.mod) for candidate in measure_candidates]
        self._task().tell(np.array([latency_s(result) for result in results]), programs)

    def post_tuning(self) -> None:
        task, conversation = self._running, self._conversation
        self._running = self._conversation = None
        self._begun = False
        if task is None:
            return
        task.learn()
        if conversation is not None:
            conversation.end(task.space.task, task)

    def _task(self) -> TaskSearch:
        if self._running is None:
            raise RuntimeError("expected pre_tuning before the first round and after post_tuning")
        return self._running

    def _opened(self, *how: Any) -> SketchSet | None:
        """As `_open`; None where there is nothing to search, which ends no other task."""
        try:
            return self._open(*how)
        except Exception as error:  # a function that the analysis does not understand, whatever why
            if self._form.alone:
                raise
            text = "task %s is measured as it is, for it cannot be searched: %s"
            logger.warning(text, self._name, first_line(error))
            self._unsearched = True
            return None

    def _open(
        self,
        design_spaces: Sequence[Any],
        task: Task,
        rng: np.random.Generator,
        few: bool,
    ) -> SketchSet:
        """Open a sketch of every design space, but for those empty or not understood.

        Or of one design space of many, where ``few`` are enough: points are scored before there is
        a trial, and more rounds follow.
        """
        from mschedx.space.opening import sketches_from

        sketches: list[Sketch] = []
        spaces: list[int] = []
        refused: dict[int, str] = {}
        for index, schedule in enumerate(design_spaces):
            try:
                found = sketches_from([schedule], self._mod, self._target, self._postprocs)
            except NOT_SEARCHABLE as error:
                refused[index] = str(error)
                logger.warning("%s", left_out(self._name, index, str(error)))
                continue
            sketches += found
            spaces += [index] * len(found)
        space = None
        if sketches:
            space = GrowingSet(sketches, spaces, task, rng)
            space.begin(rng if few and len(sketches) > MOST_ANALYSED else None)
            refused |= space.refused_spaces
        if space is None or not space.opened:
            reasons = [f"design space {index}: {why}" for index, why in sorted(refused.items())]
            why = "; ".join(reasons) or "the space generator returned no design space"
            raise ValueError(  # a plain one, as in `Given.spaces`
                f"task {self._name}: nothing to search for target {self._target.kind.name}: "
                f"{why}. Check that space= suits this workload and target."
            )
        for index, why in sorted(refused.items()):
            pass_on(left_out(self._name, index, why))
        return space

    def _scorer(self, cost_model: Any, space: SketchSet, materialize: Materializer) -> Scorer:
        self._conversation = conversation_behind(cost_model)
        if cost_model is None:
            return NoScorer()
        if self._conversation is not None:
            return ArrayScorer(self._conversation.model, space, self._conversation.learn)
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
            lambda measurable: cost_model.predict(context, measurable), candidates, self._form.pool
        )


def _measurable(candidate: Candidate) -> MeasureCandidate:
    schedule = candidate.schedule
    return MeasureCandidate(schedule, ms.arg_info.ArgInfo.from_entry_func(schedule.mod, True))
