"""Measure the tasks of a network, in waves: search and build together, then run undisturbed.

While one core searches the next tasks, the builder compiles those before; kernels are timed when
both are done. A wave's results are on the disk, journal first, before the next one begins.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from tvm.s_tir import meta_schedule as ms
from tvm.target import Target

from mschedx.measure.candidates import build_all, run_all
from mschedx.measure.failures import MachineTrouble, machine_trouble
from mschedx.process_state import interruptible, numpy_seed, quiet_logging
from mschedx.record.rounds import Appended, Round
from mschedx.record.trials import Journal, Trial
from mschedx.record.work_dir import WorkDir
from mschedx.recorder import SessionOutcome
from mschedx.run_stages import BUILD, RECORD, RUN, seconds_by_stage
from mschedx.search.as_it_is import are_unscheduled
from mschedx.session import derived_seed, remember
from mschedx.told import listening

from .budget import Budget, Standing, next_tasks
from .choices import recorded
from .progress import NetworkProgress
from .running import RunningTask, SharedParts
from .tasks import NetworkTask

_WAVE, _ROUND = 8, 8
"""Tasks that are searched and built before any of them runs, and most trials of each."""

_EXHAUSTED = "exhausted"
"""The manifest's entry for tasks that no more can be measured of: their trials by key."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What one call of `tune_model` may measure.

    Parameters
    ----------
    tasks : sequence of NetworkTask
        At least one.
    timeout_s : float or None
        Begin no further wave after this many seconds since `begin` (``time.perf_counter``).
    names : dict
        Of the parts, as the journal keeps them.
    cold : bool
        Whether weights come from memory for what drafts or measures.
    """

    tasks: Sequence[NetworkTask]
    target: Target
    trials_per_task: int
    seed: int
    timeout_s: float | None
    begin: float
    names: dict[str, str | None] = field(default_factory=dict)
    cold: bool = False


def is_done(tasks: Sequence[NetworkTask], trials_per_task: int, work_dir: WorkDir) -> int | None:
    """How many trials the work_dir holds, if a session would measure nothing; None if it would.

    Tasks that an earlier session found to have no more programs do not keep a used-up budget open.
    """
    budget, exhausted = Budget(trials_per_task, len(tasks)), work_dir.manifest().get(_EXHAUSTED, {})
    standings = []
    for task in tasks:
        run = recorded(work_dir, work_dir.contents, task)
        trials = 0 if run is None else len(run.trials)
        ended = exhausted.get(task.key) == trials
        standings.append(Standing(task.weight, task.flops, trials, ended=ended))
    if budget.left(standings) > 0:
        standings = [replace(one, ended=False) for one in standings]
    return None if next_tasks(standings, budget, 1) else sum(one.trials for one in standings)


def note_exhausted(running: Sequence[RunningTask], work_dir: WorkDir) -> None:
    """Keep in the manifest at how many trials tasks ended because there was nothing more to try."""
    ended = {one.task.key: len(one.trials) for one in running if one.why_ended is not None}
    if ended:
        work_dir.write_manifest(
            **{_EXHAUSTED: {**work_dir.manifest().get(_EXHAUSTED, {}), **ended}}
        )


def run_session(
    session: Session, parts: SharedParts, work_dir: WorkDir, progress: NetworkProgress
) -> tuple[list[RunningTask], SessionOutcome]:
    """Measure until the budget is used up, or it is stopped; what was measured is kept.

    Raises
    ------
    MachineTrouble
        If this machine can build or run nothing at present.
    OSError
        If the work_dir can no longer be written.
    """
    outcome = SessionOutcome()
    records = _Records(session, parts.database, work_dir)
    running = [
        RunningTask(task, session.target, parts, derived_seed(session.seed, place), known)
        for place, (task, known) in enumerate(zip(session.tasks, records.known))
    ]
    budget = Budget(session.trials_per_task, len(running))
    progress.start(running, budget.planned([one.standing for one in running]))
    builds = ThreadPoolExecutor(1, "mschedx-builds")
    waves = _Waves(session, parts, budget, records, builds, progress, outcome)
    try:
        with (
            quiet_logging(),
            numpy_seed(session.seed),
            listening() as outcome.said,
            interruptible(outcome.interrupt),
        ):
            while wave := next_tasks([one.standing for one in running], budget, _WAVE):
                left = budget.left([one.standing for one in running])
                waves.measure([running[i] for i in wave], left)
                _end_if_interrupted(outcome)
                spent = time.perf_counter() - session.begin
                if session.timeout_s is not None and spent >= session.timeout_s:
                    outcome.timed_out = True
                    break
    except (Exception, KeyboardInterrupt) as error:
        # KeyboardInterrupt arrives as another error after passing through some libraries.
        if not outcome.interrupted:
            trouble = machine_trouble(error)
            if trouble is not None:
                raise MachineTrouble(trouble) from None
            raise
    finally:
        builds.shutdown(cancel_futures=True)
        outcome.measured = records.measured
        for one in running:
            with one.profiler:
                one.close()
    records.end(running)
    return running, outcome


@dataclass(frozen=True)
class _Waves:
    """What the waves of a session have in common."""

    session: Session
    parts: SharedParts
    budget: Budget
    records: _Records
    builds: ThreadPoolExecutor
    progress: NetworkProgress
    outcome: SessionOutcome

    def measure(self, wave: Sequence[RunningTask], left: int) -> None:
        """Search and build a batch of each task, then run them one after the other.

        Parameters
        ----------
        wave : sequence of RunningTask
        left : int
            Trials of the budget.
        """
        batches: list[tuple[RunningTask, list[Any], Future[list[Any]]]] = []
        target, budget = self.session.target, self.budget
        for one in wave:
            if left <= 0 and not budget.is_starved(one.standing):
                break
            _end_if_interrupted(self.outcome)
            self.progress.searching(one)
            most, per_round = budget.most - one.standing.trials, min(_ROUND, budget.floor)
            with one.profiler:
                candidates = one.propose(most, per_round)
            if not candidates:
                continue
            left -= len(candidates)
            built = self.builds.submit(_build, candidates, target, self.parts.builder)
            batches.append((one, candidates, built))
        ready = []
        for one, candidates, future in batches:
            with one.profiler, ms.Profiler.timeit(BUILD):
                ready.append((one, candidates, future.result()))
        for one, candidates, built in ready:
            _end_if_interrupted(self.outcome)
            self.progress.running(one)
            with one.profiler:
                trials = self._run(one, candidates, built)
            self.progress.update(one, trials)

    def _run(
        self, one: RunningTask, candidates: Sequence[Any], built: Sequence[Any]
    ) -> list[Trial]:
        """Run a task's batch, write it down and tell the search."""
        arguments = [candidate.args_info for candidate in candidates]
        with ms.Profiler.timeit(RUN):
            ran = run_all(built, arguments, self.session.target, self.parts.runner)
        done = Round(None, 0, candidates, built, ran)
        with ms.Profiler.timeit(RECORD):
            trials = self.records.write(one, done)
        one.take_in(done, trials)
        return trials


def _end_if_interrupted(outcome: SessionOutcome) -> None:
    """Raise again what a library that was called meanwhile took for a failure of its own."""
    if outcome.interrupted:
        raise KeyboardInterrupt


def _build(candidates: Sequence[Any], target: Target, builder: Any) -> list[Any]:
    return build_all([candidate.sch.mod for candidate in candidates], target, builder)


class _Records:
    """What is known of the tasks in the work_dir, and the writer of what is new.

    Attributes
    ----------
    known : list of tuple of Trial
        By task, at the beginning.
    measured : int
        Trials of this session.
    """

    def __init__(self, session: Session, database: ms.Database, work_dir: WorkDir) -> None:
        self._session, self._database = session, database
        self._journal = Journal(work_dir.path)
        self.measured = 0
        self.known: list[tuple[Trial, ...]] = []
        self._next: dict[str, Trial] = {}
        contents = work_dir.contents
        new = Appended(work_dir.workloads)
        fresh = 0
        for task in session.tasks:
            run = recorded(work_dir, contents, task)
            database.commit_workload(task.mod)
            if run is None:
                number, fresh = len(contents.workloads) + fresh, fresh + 1
            else:
                number = run.workload
            known = () if run is None else run.trials
            self.known.append(known)
            self._next[task.key] = Trial(
                index=len(known),
                workload=number,
                record=len(contents.records),
                session=0 if run is None else len(run.sessions),
                round=0,
                elapsed_s=max((t.elapsed_s or 0.0 for t in known), default=0.0),
                task=task.name,
            )
        new.check(fresh)
        for task in session.tasks:
            remember(task.mod, self._next[task.key].workload, contents, self._journal)
        self._records = Appended(work_dir.records)
        self._earlier = len(contents.records) - len(database)  # which it has not read
        self._begun: set[str] = set()

    def write(self, one: RunningTask, done: Round) -> list[Trial]:
        """Journal a round, then commit its records, as TVM would."""
        key, session = one.task.key, self._session
        like = self._next[key]
        if key not in self._begun:
            self._begun.add(key)
            self._journal.session(
                like.workload,
                seed=session.seed,
                trials=session.trials_per_task,
                parts=session.names,
                cold=session.cold,
            )
        elapsed = (like.elapsed_s or 0.0) + time.perf_counter() - session.begin
        scores = one.forecast(done.candidates)
        found = replace(
            like,
            record=self._earlier + len(self._database),
            elapsed_s=elapsed,
            unscheduled=are_unscheduled(done.candidates),
        )
        trials = done.trials(found, scores)
        self._journal.trials(trials)
        done.commit(self._database, one.task.mod, session.target)
        self._journal.written(found.record, self._records.check(len(trials)))
        self._next[key] = replace(like, index=like.index + len(trials), round=like.round + 1)
        self.measured += len(trials)
        return trials

    def end(self, running: Sequence[RunningTask]) -> None:
        """Journal what each task took of the session, seconds by stage."""
        for one in running:
            stages = seconds_by_stage(one.profiler)
            if one.task.key in self._begun:
                self._journal.end(self._next[one.task.key].workload, stages)
