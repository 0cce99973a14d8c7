"""One call of the tuner: run MetaSchedule for the trials that are missing, and journal them."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.s_tir import meta_schedule as ms

from mschedx.measure.failures import MachineTrouble, machine_trouble
from mschedx.record.contents import Contents, read_contents
from mschedx.record.rounds import AfterRound, Appended, Round
from mschedx.record.trials import Journal, Run, Trial, run_of, workload_number

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target

    from mschedx.record.work_dir import WorkDir
    from mschedx.report.progress import Progress

_LOGGER = "tvm.s_tir.meta_schedule"


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
    fault: BaseException | None = None

    @property
    def stopping(self) -> bool:
        return self.interrupted or self.timed_out

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


def recorded(work_dir: WorkDir, mod: IRModule) -> Run | None:
    """Read what the work_dir knows of this function now; None if it is new there."""
    return _of(read_contents(work_dir.path), work_dir, mod)


def _of(contents: Contents, work_dir: WorkDir, mod: IRModule) -> Run | None:
    number = workload_number(contents, ms.database.Workload(mod).as_json()[0])
    return None if number is None else run_of(work_dir.path, contents, number)


def run_session(plan: Plan, work_dir: WorkDir, progress: Progress) -> Outcome:
    """Measure until the work_dir holds ``plan.trials`` trials of the function, or it is stopped.

    Whatever stops it, all rounds that were measured are in the database and in the journal.

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
    missing = plan.trials - len(done)
    if missing <= 0:
        return outcome
    database = ms.database.JSONDatabase(work_dir=str(work_dir.path))
    new = Appended(work_dir.workloads)
    database.commit_workload(plan.mod)
    if before is None:
        new.check(1)
    journal = Journal(work_dir.path)
    seed = plan.seed if not done else _resumed_seed(plan.seed, len(done))
    common = Trial(
        index=len(done),
        workload=before.workload if before is not None else len(work_dir.contents.workloads),
        session=len(before.sessions) if before is not None else 0,
        round=0,
        elapsed_s=max((t.elapsed_s or 0.0 for t in done), default=0.0),
    )
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
    # TVM's own models may answer at random.
    forecast = None if isinstance(plan.parts.get("cost_model"), str) else _Forecast()
    records = Appended(work_dir.records)
    recorder = _Recorder(plan, outcome, journal, records, progress, common, forecast)
    callbacks = [
        AfterRound(outcome.keeping(recorder.before_records)),
        *ms.MeasureCallback.create("default"),
        AfterRound(outcome.keeping(recorder.after_records)),
    ]
    with ms.Profiler() as profiler, _interruptible(outcome), quiet_logging(), _numpy_seed(seed):
        try:
            ms.tune_tir(
                plan.mod,
                plan.target,
                work_dir=str(work_dir.path),
                max_trials_global=missing,
                num_trials_per_iter=min(plan.trials_per_round, missing),
                database=database,
                measure_callbacks=callbacks,
                seed=seed,
                **_parts(plan),
            )
        except (Exception, KeyboardInterrupt) as error:
            # KeyboardInterrupt and Stopped arrive as RuntimeError after passing through TVM.
            if outcome.fault is not None:
                raise outcome.fault from None
            if not outcome.stopping:
                trouble = machine_trouble(error)
                if trouble is not None:
                    raise MachineTrouble(trouble) from None
                raise
    stages = {str(name): float(seconds) for name, seconds in profiler.get().items()}
    journal.append({"kind": "end", "workload": common.workload, "stages": stages})
    return outcome


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
        forecast: _Forecast | None,
    ) -> None:
        self._plan, self._outcome, self._journal = plan, outcome, journal
        self._records, self._progress, self._forecast = records, progress, forecast
        self._next, self._earlier_s = common, common.elapsed_s or 0.0
        self._round: list[Trial] = []

    def before_records(self, done: Round) -> None:
        """Journal a round that TVM is about to record."""
        elapsed = self._earlier_s + time.perf_counter() - self._plan.begin
        scores = self._forecast(done) if self._forecast is not None else []
        self._round = done.trials(replace(self._next, elapsed_s=elapsed), scores)
        self._journal.trials(self._round)

    def after_records(self, done: Round) -> None:
        """Count and show a round once it is on the disk."""
        self._records.check(len(done.candidates))
        count = self._next.index + len(self._round)
        self._next = replace(self._next, index=count, round=self._next.round + 1)
        self._outcome.measured += len(self._round)
        self._progress.update(self._round)
        limit = self._plan.timeout_s
        if limit is not None and time.perf_counter() - self._plan.begin >= limit:
            self._outcome.timed_out = count < self._plan.trials
        if self._outcome.stopping:
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


@contextmanager
def _interruptible(outcome: Outcome) -> Iterator[None]:
    """Note Ctrl-C, since TVM makes another error of it on its way through C++."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(signum: int, frame: FrameType | None) -> None:
        outcome.interrupted = True
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Keep MetaSchedule's log off the console (its files stay) and undo its logging set-up.

    Handlers that its logger had are put aside meanwhile: ``tune_tir`` fails on those without a
    name, and doubles its own.
    """
    root = logging.getLogger(_LOGGER)
    level, handlers, propagate = root.level, list(root.handlers), root.propagate
    root.handlers.clear()
    root.setLevel(logging.ERROR)
    complains, logging.raiseExceptions = logging.raiseExceptions, False  # of a full disk
    try:
        yield
    finally:
        logging.raiseExceptions = complains
        for name in [n for n in logging.root.manager.loggerDict if n.startswith(_LOGGER)]:
            logger = logging.getLogger(name)
            for handler in list(logger.handlers):
                logger.removeHandler(handler)
                handler.close()
        root.handlers.extend(handlers)
        root.setLevel(level)
        root.propagate = propagate


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which TVM's own "xgb" warms up with, and restore it."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
