"""A session as its rounds come in: how it goes, and who writes it down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tvm.s_tir import meta_schedule as ms

from mschedx.cost.adapter import conversation_behind, is_ready
from mschedx.plan import Plan
from mschedx.record.rounds import Appended, Round, after_round
from mschedx.record.trials import Journal, Trial
from mschedx.search.as_it_is import are_unscheduled
from mschedx.space.task import Task
from mschedx.unscheduled import measure_unscheduled

if TYPE_CHECKING:
    from mschedx.record.work_dir import WorkDir
    from mschedx.report.progress import Progress


@dataclass(slots=True)
class SessionOutcome:
    """How a session went; the callback and the signal handler fill it."""

    measured: int = 0
    """Trials of this session that are recorded."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""
    timed_out: bool = False
    """Whether it ran out of seconds before all trials were measured."""
    stopped: bool = False
    """Whether it ended early as it was asked to: a plateau, or the caller's word."""
    ended: str | None = None
    """Why the search ended before all trials were measured, if it did by itself."""
    fault: BaseException | None = None
    """What a callback has raised."""
    said: list[str] = field(default_factory=list)
    """What was told meanwhile (`mschedx.told`); of a network, why tasks ended too."""

    @property
    def stopping(self) -> bool:
        return self.interrupted or self.timed_out or self.stopped

    def interrupt(self) -> None:
        self.interrupted = True

    def keeping(self, function: Callable[[Round], None]) -> Callable[[Round], None]:
        """Keep what a callback raises: TVM hands on its text only."""

        def call(done: Round) -> None:
            try:
                function(done)
            except Stopped:
                raise
            except Exception as error:
                self.fault = error
                raise

        return call


class Stopped(Exception):
    """Ends ``tune_tir`` from a callback; TVM turns it into a RuntimeError on its way."""


class Plateau:
    """Counts trials in a row that have brought nothing faster; those of earlier sessions too."""

    def __init__(self, done: Sequence[Trial] = ()) -> None:
        self.best_s, self.since = math.inf, 0
        self.note(done)

    def note(self, trials: Sequence[Trial]) -> None:
        """Take note of trials in their order."""
        for trial in trials:
            self.since += 1
            if trial.latency_s is not None and trial.latency_s < self.best_s:
                self.best_s, self.since = trial.latency_s, 0


def foretells(cost_model: Any) -> bool:
    """Whether the scores of a cost model, None for our own, are worth writing down.

    Those of TVM's own models, names or objects, may be random, and a search need not have asked.
    """
    return not isinstance(cost_model, (str, ms.cost_model.RandomModel, ms.cost_model.XGBModel))


def forecast(
    cost_model: Any, context: Any, candidates: Sequence[Any], *, has_learnt: bool
) -> list[float]:
    """Ask a cost model for its scores of a round, before it learns how the round went.

    Parameters
    ----------
    cost_model : CostModel
        TVM's, or one of ours as TVM takes it.
    context : TuneContext
        Of the task.
    candidates : sequence of MeasureCandidate
    has_learnt : bool
        Whether the model has been told of an earlier round: of one that is not ours nothing else
        says whether it knows anything.

    Returns
    -------
    list of float
        Empty where the model has nothing to say yet, and where the function is measured as it is.
    """
    if conversation_behind(cost_model) is not None:
        has_learnt = is_ready(cost_model, Task.of(context.mod, context.target, context.task_name))
    if not has_learnt or are_unscheduled(candidates):
        return []
    return [float(score) for score in cost_model.predict(context, list(candidates))]


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What the sessions before left of a function.

    Attributes
    ----------
    trials : tuple of Trial
        In their order.
    common : Trial
        What the trials of the next round have in common; `elapsed_s` is of the sessions before.
    unread : int
        Records of the work_dir, of whatever function, that the session's database has not read.
    """

    trials: tuple[Trial, ...]
    common: Trial
    unread: int


class Recorder:
    """Write each round to the journal, show it, and end the run when it is time.

    Parameters
    ----------
    plan : Plan
    earlier : Earlier
    work_dir : WorkDir
        With its records as they are before the session's first.
    database : ms.Database
        To which TVM adds records of the same work_dir.
    progress : Progress
        Shows the rounds.
    outcome : SessionOutcome
        Is filled as rounds come in.
    """

    def __init__(
        self,
        plan: Plan,
        earlier: Earlier,
        *,
        work_dir: WorkDir,
        database: ms.Database,
        progress: Progress,
        outcome: SessionOutcome,
    ) -> None:
        self.outcome, self.database = outcome, database
        self._plan, self._progress = plan, progress
        self._journal, self._records = Journal(work_dir.path), Appended(work_dir.records)
        self._unread, self._next = earlier.unread, earlier.common
        self._earlier_s = earlier.common.elapsed_s or 0.0
        self._plateau = Plateau(earlier.trials)
        self._foretells = foretells(plan.parts.cost_model)
        self._round: list[Trial] = []

    @property
    def missing(self) -> int:
        """Trials that are still to be measured."""
        return self._plan.trials - self._next.index

    def callbacks(self) -> list[ms.MeasureCallback]:
        """TVM's own, between two of this object's."""
        return [
            after_round(self.outcome.keeping(self._before_records)),
            *ms.MeasureCallback.create("default"),
            after_round(self.outcome.keeping(self._after_records)),
        ]

    def end(self, why: str, builder: Any, runner: Any) -> None:
        """Say why the search ended early; if it found nothing, measure the function as it is."""
        if self._next.index and not self._next.unscheduled:
            count = self._next.index
            self.outcome.ended = f"the design space holds no more programs than {count}: {why}"
            self._progress.exhausted(self.outcome.ended)
            return
        self.outcome.ended = f"nothing could be searched, so the function stays as it is: {why}"
        if not self._next.index:  # a strategy of TVM's, which does not propose it
            measured = measure_unscheduled(self._plan.mod, self._plan.target, builder, runner)
            self._before_records(measured)
            measured.commit(self.database, self._plan.mod, self._plan.target)
            self._after_records(measured)
        error = next((trial.error for trial in self._round if trial.error), None)
        if error is not None:
            self.outcome.ended = (
                f"nothing could be searched: {why}; nor does it run as it is: {error}"
            )
        self._progress.exhausted(self.outcome.ended)

    def _before_records(self, done: Round) -> None:
        """Journal a round that TVM is about to record."""
        if not done.candidates:  # TVM's replay of traces, where postprocs refuse all of a batch
            return
        elapsed = self._earlier_s + time.perf_counter() - self._plan.begin
        like = replace(
            self._next,
            record=self._unread + len(self.database),
            elapsed_s=elapsed,
            unscheduled=are_unscheduled(done.candidates),
        )
        self._round = done.trials(like, self._scores(done))
        self._journal.trials(self._round)

    def _scores(self, done: Round) -> list[float]:
        """What the cost model expects of a round; none where it is not asked."""
        if done.scheduler is None or not self._foretells:
            return []
        context, model = done.scheduler.tasks_[done.task].ctx, done.scheduler.cost_model_
        return forecast(model, context, done.candidates, has_learnt=bool(self._round))

    def _after_records(self, done: Round) -> None:
        """Count and show a round once it is on the disk."""
        if not done.candidates:
            return
        first = self._round[0].record
        self._journal.written(first, self._records.check(len(done.candidates)))
        count = self._next.index + len(self._round)
        self._next = replace(self._round[-1], index=count, round=self._next.round + 1)
        self.outcome.measured += len(self._round)
        self._progress.update(self._round)
        limit = self._plan.timeout_s
        if limit is not None and time.perf_counter() - self._plan.begin >= limit:
            self.outcome.timed_out = self.missing > 0
        self._stop_early()
        if self.outcome.stopping:
            raise Stopped

    def _stop_early(self) -> None:
        """End the run on a plateau, or where the caller says so."""
        done = tuple(self._round)
        self._plateau.note(done)
        asked = self._plan.on_round is not None and bool(self._plan.on_round(done))
        patience, since = self._plan.patience, self._plateau.since
        idle = patience is not None and since >= patience
        if (asked or idle) and self.missing > 0:
            why = "on_round said so" if asked else f"nothing faster in the last {since}"
            self.outcome.stopped = True
            self.outcome.ended = (
                f"stopped after {self._next.index} of {self._plan.trials} trials: {why}"
            )
            self._progress.exhausted(self.outcome.ended)
