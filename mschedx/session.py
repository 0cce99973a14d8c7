"""One call of the tuner: run MetaSchedule for the trials that are missing, and journal them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.s_tir import meta_schedule as ms

from mschedx.measure.failures import MachineTrouble, machine_trouble
from mschedx.process_state import interruptible, numpy_seed, quiet_logging, search_log
from mschedx.record.contents import Contents, read_contents
from mschedx.record.rounds import AfterRound, Appended, Round
from mschedx.record.trials import Journal, Run, Trial, run_of, workload_number
from mschedx.unscheduled import commit, measure_unscheduled

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target

    from mschedx.record.work_dir import WorkDir
    from mschedx.report.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one call of the tuner is asked for.

    Attributes
    ----------
    parts : dict[str, Any]
        space, strategy, cost_model, builder and runner, as ``ms.tune_tir`` takes them; None for
        mschedx's own.
    timeout_s : float | None
        Start no further round after this many seconds since `begin` (``time.perf_counter``).
    """

    mod: IRModule
    target: Target
    trials: int
    trials_per_round: int
    seed: int
    timeout_s: float | None
    begin: float
    parts: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """How a session went; the callback and the signal handler fill it."""

    measured: int = 0
    interrupted: bool = False
    timed_out: bool = False
    ended: str | None = None
    """Why the search ended before all trials were measured, if it did by itself."""
    fault: BaseException | None = None

    @property
    def stopping(self) -> bool:
        return self.interrupted or self.timed_out

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


_NOTHING = "nothing to search"


class Stopped(Exception):
    """Ends ``tune_tir`` from a callback; TVM turns it into a RuntimeError on its way."""


def recorded(work_dir: WorkDir, mod: IRModule) -> Run | None:
    """Read what the work_dir knows of this function now; None if it is new there."""
    return _of(read_contents(work_dir.path), work_dir, mod)


def _of(contents: Contents, work_dir: WorkDir, mod: IRModule) -> Run | None:
    number = workload_number(contents, ms.database.Workload(mod).as_json()[0])
    return None if number is None else run_of(work_dir.path, contents, number)


def run_session(plan: Plan, work_dir: WorkDir, progress: Progress) -> Outcome:
    """Measure until the work_dir holds ``plan.trials`` trials of the function, or it is stopped.

    Whatever stops it, all rounds that were measured are in the database and in the journal. Where
    the search finds nothing at all, the function as it is becomes the only trial.

    Raises
    ------
    MachineTrouble
        If this machine can build or run nothing at present; nothing of that round is recorded.
    OSError
        If the work_dir can no longer be written.
    """
    before = _of(work_dir.contents, work_dir, plan.mod)
    done = before.trials if before is not None else ()
    outcome = Outcome()
    progress.start(plan.trials, done)
    if len(done) >= plan.trials:
        return outcome
    database = ms.database.JSONDatabase(work_dir=str(work_dir.path))
    new = Appended(work_dir.workloads)
    database.commit_workload(plan.mod)
    if before is None:
        new.check(1)
    common = Trial(
        index=len(done),
        workload=before.workload if before is not None else len(work_dir.contents.workloads),
        session=len(before.sessions) if before is not None else 0,
        round=0,
        unscheduled=bool(done) and all(t.unscheduled for t in done),
        elapsed_s=max((t.elapsed_s or 0.0 for t in done), default=0.0),
    )
    journal = Journal(work_dir.path)
    seed = plan.seed if not done else _resumed_seed(plan.seed, len(done))
    journal.append(
        {
            "kind": "session",
            "workload": common.workload,
            "time": time.time(),
            "seed": seed,
            "trials": plan.trials,
            "parts": {name: _name(part) for name, part in plan.parts.items()},
        }
    )
    recorder = _Recorder(
        plan, outcome, journal, Appended(work_dir.records), progress, common, database
    )
    with ms.Profiler() as profiler, search_log() as said, interruptible(outcome.interrupt):
        parts = _parts(plan)
        nothing = _search(plan, work_dir, recorder, parts, seed)
        if not outcome.stopping and recorder.missing > 0:
            ended = nothing or (said[-1] if said else "TVM's log says more")
            recorder.end(ended, parts["builder"], parts["runner"])
    stages = {str(name): float(seconds) for name, seconds in profiler.get().items()}
    journal.append({"kind": "end", "workload": common.workload, "stages": stages})
    return outcome


def _search(
    plan: Plan, work_dir: WorkDir, recorder: _Recorder, parts: dict[str, Any], seed: int
) -> str | None:
    """Let TVM's scheduler measure what is missing; say why if there is nothing to search."""
    outcome = recorder.outcome
    try:
        with quiet_logging(), numpy_seed(seed):
            ms.tune_tir(
                plan.mod,
                plan.target,
                work_dir=str(work_dir.path),
                max_trials_global=recorder.missing,
                num_trials_per_iter=min(plan.trials_per_round, recorder.missing),
                database=recorder.database,
                measure_callbacks=recorder.callbacks(),
                seed=seed,
                **parts,
            )
    except (Exception, KeyboardInterrupt) as error:
        # KeyboardInterrupt and Stopped arrive as RuntimeError after passing through TVM.
        if outcome.fault is not None:
            raise outcome.fault from None
        if outcome.stopping:
            return None
        trouble = machine_trouble(error)
        if trouble is not None:
            raise MachineTrouble(trouble) from None
        if _NOTHING in str(error) and plan.parts.get("space") is None:
            return f"{_NOTHING}{str(error).partition(_NOTHING)[2]}".splitlines()[0]
        raise
    return None


class _Forecast:
    """Ask the cost model for its scores of a round before it learns how the round went."""

    def __init__(self) -> None:
        self._rounds = 0

    def __call__(self, done: Round) -> list[float]:
        self._rounds += 1
        if self._rounds == 1:  # before the first round it has seen nothing
            return []
        context = done.scheduler.tasks_[done.task].ctx
        scores = done.scheduler.cost_model_.predict(context, list(done.candidates))
        return [float(score) for score in scores]


class _Recorder:
    """Write each round to the journal, show it, and end the run when it is time.

    Parameters
    ----------
    common : Trial
        What the trials of the next round have in common; `elapsed_s` is of earlier sessions.
    """

    def __init__(
        self,
        plan: Plan,
        outcome: Outcome,
        journal: Journal,
        records: Appended,
        progress: Progress,
        common: Trial,
        database: ms.Database,
    ) -> None:
        self.outcome, self.database = outcome, database
        self._plan, self._journal, self._records = plan, journal, records
        self._progress, self._next, self._earlier_s = progress, common, common.elapsed_s or 0.0
        # TVM's own models may answer at random.
        self._forecast = None if isinstance(plan.parts.get("cost_model"), str) else _Forecast()
        self._round: list[Trial] = []

    @property
    def missing(self) -> int:
        """Trials that are still to be measured."""
        return self._plan.trials - self._next.index

    def callbacks(self) -> list[ms.MeasureCallback]:
        """TVM's own, between two of this object's."""
        return [
            AfterRound(self.outcome.keeping(self._before_records)),
            *ms.MeasureCallback.create("default"),
            AfterRound(self.outcome.keeping(self._after_records)),
        ]

    def end(self, why: str, builder: Any, runner: Any) -> None:
        """Say why the search ended early; if it found nothing, measure the function as it is."""
        if self._next.index and not self._next.unscheduled:
            count = self._next.index
            self.outcome.ended = f"the design space holds no more programs than {count}: {why}"
            self._progress.exhausted(self.outcome.ended)
            return
        self.outcome.ended = f"nothing could be searched, so the function stays as it is: {why}"
        if self._next.index:  # measured by an earlier session
            self._progress.exhausted(self.outcome.ended)
            return
        measured = measure_unscheduled(self._plan.mod, self._plan.target, builder, runner)
        error = measured.built[0].error_msg or measured.ran[0].error_msg
        if error is None:
            self._before_records(measured)
            commit(measured, self.database, self._plan.mod, self._plan.target)
            self._after_records(measured)
        else:
            self.outcome.ended = (
                f"nothing could be searched: {why}; nor does it run as it is: {error}"
            )
        self._progress.exhausted(self.outcome.ended)

    def _before_records(self, done: Round) -> None:
        """Journal a round that TVM is about to record."""
        elapsed = self._earlier_s + time.perf_counter() - self._plan.begin
        searched = done.scheduler is not None
        scores = self._forecast(done) if self._forecast is not None and searched else []
        like = replace(
            self._next,
            record=len(self.database),
            elapsed_s=elapsed,
            unscheduled=not searched,
        )
        self._round = done.trials(like, scores)
        self._journal.trials(self._round)

    def _after_records(self, done: Round) -> None:
        """Count and show a round once it is on the disk."""
        self._records.check(len(done.candidates))
        count = self._next.index + len(self._round)
        self._next = replace(self._round[-1], index=count, round=self._next.round + 1)
        self.outcome.measured += len(self._round)
        self._progress.update(self._round)
        limit = self._plan.timeout_s
        if limit is not None and time.perf_counter() - self._plan.begin >= limit:
            self.outcome.timed_out = self.missing > 0
        if self.outcome.stopping:
            raise Stopped


def _parts(plan: Plan) -> dict[str, Any]:
    """Fill in mschedx's own parts; builder and runner first, since their workers start apart."""
    parts = dict(plan.parts)
    if parts.get("builder") is None:
        from mschedx.measure import LocalBuilder

        parts["builder"] = LocalBuilder()
    if parts.get("runner") is None:
        from mschedx.measure import LocalRunner

        parts["runner"] = LocalRunner()
    if parts.get("space") is None:
        from mschedx.space import for_target

        parts["space"] = for_target(plan.target)
    if parts.get("strategy") is None:
        from mschedx.search import ConstrainedEvolution

        parts["strategy"] = ConstrainedEvolution()
    if parts.get("cost_model") is None:
        from mschedx.cost import HeronXGB

        parts["cost_model"] = HeronXGB()
    return parts


def _name(part: Any) -> str | None:
    if part is None or isinstance(part, str):
        return part
    return type(part).__name__


def _resumed_seed(seed: int, done: int) -> int:
    """Give a continued run other candidates than the run that it continues."""
    return int(np.random.SeedSequence([seed, done]).generate_state(1)[0] >> 1) or 1
