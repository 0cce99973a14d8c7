"""One task of a network as it is tuned: its search, its trials, its standing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from mschedx.error_text import first_line
from mschedx.measure.failures import machine_trouble
from mschedx.plan import Parts
from mschedx.record.rounds import Round
from mschedx.record.trials import Trial
from mschedx.recorder import forecast, foretells
from mschedx.run_stages import UPDATE
from mschedx.search.as_it_is import are_unscheduled, unscheduled_candidate
from mschedx.told import listening, pass_on

from .budget import Standing
from .tasks import NetworkTask


@dataclass(frozen=True, kw_only=True)
class SharedParts(Parts):
    """What all tasks of a network share, as ``ms.tune_tasks`` takes them; no part is missing.

    Names are made parts already; a cost model of None is for none.
    """

    database: ms.Database


class RunningTask:
    """A task's conversation with a search; begins with the first batch that is asked for.

    Parameters
    ----------
    task : NetworkTask
    target : Target
    parts : SharedParts
    seed : int
    history : sequence of Trial
        What the work_dir holds of it.

    Attributes
    ----------
    profiler : ms.Profiler
        Entered by whoever works on the task, so that its seconds are known by stage.
    """

    def __init__(
        self,
        task: NetworkTask,
        target: Target,
        parts: SharedParts,
        seed: int,
        history: Sequence[Trial],
    ) -> None:
        self.task, self._target, self._parts, self._seed = task, target, parts, seed
        self.trials = list(history)
        best = _best_s(self.trials)
        self.standing = Standing(task.weight, task.flops, len(self.trials), best, best)
        self.profiler = ms.Profiler()
        self.why_ended: str | None = None
        self._context: ms.TuneContext | None = None
        self._earlier = len(self.trials)

    @property
    def best_s(self) -> float:
        return self.standing.best_s

    def propose(self, most: int, per_round: int) -> list[ms.MeasureCandidate]:
        """Search the next batch; empty, and the task ended, when there is none.

        Parameters
        ----------
        most : int
            Trials that the task may still take.
        per_round : int
            Largest batch.
        """
        if self._context is None:
            nothing = self._begin(most, per_round)
            if nothing is not None:
                return self._as_it_is(nothing)
        assert self._context is not None
        strategy = self._context.search_strategy
        assert strategy is not None
        batch = strategy.generate_measure_candidates()
        if not batch:
            self._end("the design space holds no more programs")
        elif are_unscheduled(batch):
            return self._as_it_is("no config of its design spaces becomes a program")
        return list(batch or ())

    def _begin(self, most: int, per_round: int) -> str | None:
        """Open the search; the reason where there is nothing to search."""
        parts = self._parts
        context = ms.TuneContext(
            self.task.mod,
            target=self._target,
            space_generator=parts.space,
            search_strategy=parts.strategy,
            task_name=self.task.name,
            rand_state=self._seed,
            num_threads=1,
        ).clone()
        assert context.search_strategy is not None
        with listening() as told:
            try:
                spaces = list(context.generate_design_space())
                context.search_strategy.pre_tuning(
                    most, per_round, spaces, parts.database, parts.cost_model
                )
                self._context, nothing = context, None
            except Exception as error:  # whatever it is, the other tasks are tuned
                if machine_trouble(error) is not None:
                    raise
                nothing = _reason(error)
        for line in told:  # a rule knows no task
            pass_on(line if self.task.name in line else f"{self.task.name}: {line}")
        return nothing

    def _as_it_is(self, why: str) -> list[ms.MeasureCandidate]:
        """Measure the function unscheduled, once, where nothing can be searched."""
        self._end(f"nothing could be searched, so it stays as it is: {why}")
        return [] if self.trials else [unscheduled_candidate(self.task.mod)]

    def forecast(self, candidates: Sequence[Any]) -> list[float]:
        """Scores of a batch before it is measured; none where the model has nothing to say yet."""
        model = self._parts.cost_model
        if model is None or not foretells(model) or self._context is None:
            return []
        has_learnt = len(self.trials) > self._earlier
        return forecast(model, self._context, candidates, has_learnt=has_learnt)

    def take_in(self, done: Round, trials: Sequence[Trial]) -> None:
        """Tell the search and the model how a round went, and count it."""
        if self._context is not None:
            strategy, model = self._context.search_strategy, self._parts.cost_model
            assert strategy is not None
            candidates, ran = list(done.candidates), list(done.ran)
            strategy.notify_runner_results(candidates, ran)
            if model is not None:
                with ms.Profiler.timeit(UPDATE):
                    model.update(self._context, candidates, ran)
        self.trials += trials
        self.standing = replace(
            self.standing,
            trials=len(self.trials),
            previous_s=self.standing.best_s,
            best_s=_best_s(self.trials),
            last=len(trials),
        )

    def close(self) -> None:
        """End the search."""
        if self._context is not None and self._context.search_strategy is not None:
            self._context.search_strategy.post_tuning()
        self._context = None

    def _end(self, why: str) -> None:
        self.why_ended = why
        self.standing = replace(self.standing, ended=True)


def _reason(error: Exception) -> str:
    """The first line of what says that there is nothing to search; of all else the class, too."""
    line = first_line(error)
    return line if "nothing to search" in line else f"{type(error).__name__}: {line}"


def _best_s(trials: Sequence[Trial]) -> float:
    return min((t.latency_s for t in trials if t.latency_s is not None), default=math.inf)
