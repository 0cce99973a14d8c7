"""One call of the tuner: run MetaSchedule for the trials that are missing, and journal them."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm.s_tir import meta_schedule as ms

from mschedx.measure.failures import reason
from mschedx.record.rounds import AfterRound, Round
from mschedx.record.trials import FAILED_S, Journal, Run, Trial, read_run, workload_line

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

    @property
    def stopping(self) -> bool:
        return self.interrupted or self.timed_out


class Stopped(Exception):
    """Ends ``tune_tir`` from a callback; TVM turns it into a RuntimeError on its way."""


def recorded(work_dir: WorkDir, mod: IRModule) -> Run | None:
    """Read what the work_dir knows of this function; None if it is new there."""
    workload = workload_line(work_dir.path, ms.database.Workload(mod).as_json()[0])
    return None if workload is None else read_run(work_dir.path, workload)


def run_session(plan: Plan, work_dir: WorkDir, progress: Progress) -> Outcome:
    """Measure until the work_dir holds ``plan.trials`` trials of the function, or it is stopped.

    Whatever stops it, all rounds that were measured are in the database and in the journal.
    """
    before = recorded(work_dir, plan.mod)
    done = before.trials if before is not None else ()
    outcome = Outcome()
    progress.start(plan.trials, done)
    missing = plan.trials - len(done)
    if missing <= 0:
        return outcome
    database = ms.database.JSONDatabase(work_dir=str(work_dir.path))
    database.commit_workload(plan.mod)
    workload = workload_line(work_dir.path, ms.database.Workload(plan.mod).as_json()[0])
    assert workload is not None, "the database lists the workload that it was just given"
    journal = Journal(work_dir.path)
    session = len(before.sessions) if before is not None else 0
    seed = plan.seed if not done else _resumed_seed(plan.seed, len(done))
    journal.append(
        {
            "kind": "session",
            "workload": workload,
            "time": time.time(),
            "seed": seed,
            "trials": plan.trials,
            "parts": {name: _name(part) for name, part in plan.parts.items()},
        }
    )
    scores: list[float] = []
    recorder = _Recorder(plan, outcome, journal, progress, done, workload, session, scores)
    callbacks = [*ms.MeasureCallback.create("default"), AfterRound(recorder)]
    if not isinstance(plan.parts.get("cost_model"), str):  # TVM's own may answer at random
        callbacks.insert(0, AfterRound(_Forecast(scores)))
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
        except (Exception, KeyboardInterrupt):
            # KeyboardInterrupt and Stopped arrive as RuntimeError after passing through TVM.
            if not outcome.stopping:
                raise
    stages = {str(name): float(seconds) for name, seconds in profiler.get().items()}
    journal.append({"kind": "end", "workload": workload, "stages": stages})
    return outcome


class _Forecast:
    """Ask the cost model for its scores of a round before it learns how the round went."""

    def __init__(self, scores: list[float]) -> None:
        self._scores, self._rounds = scores, 0

    def __call__(self, done: Round) -> None:
        self._scores.clear()
        if self._rounds:  # before the first round it has seen nothing
            context = done.scheduler.tasks_[done.task].ctx
            scores = done.scheduler.cost_model_.predict(context, list(done.candidates))
            self._scores.extend(float(score) for score in scores)
        self._rounds += 1


class _Recorder:
    """Write each round to the journal, show it, and end the run when it is time."""

    def __init__(
        self,
        plan: Plan,
        outcome: Outcome,
        journal: Journal,
        progress: Progress,
        done: tuple[Trial, ...],
        workload: int,
        session: int,
        scores: list[float],
    ) -> None:
        self._scores = scores
        self._plan, self._outcome, self._journal = plan, outcome, journal
        self._progress, self._workload, self._session = progress, workload, session
        self._count, self._round = len(done), 0
        self._earlier_s = max((t.elapsed_s or 0.0 for t in done), default=0.0)

    def __call__(self, done: Round) -> None:
        first = done.first_record
        elapsed = self._earlier_s + time.perf_counter() - self._plan.begin
        trials = []
        for offset, (built, ran) in enumerate(zip(done.built, done.ran)):
            error = built.error_msg or ran.error_msg
            seconds = [float(s) for s in ran.run_secs or ()]
            latency = sum(seconds) / len(seconds) if seconds and not error else None
            trials.append(
                Trial(
                    index=self._count + offset,
                    workload=self._workload,
                    record=first + offset,
                    round=self._round,
                    latency_s=latency if latency is not None and latency < FAILED_S else None,
                    reason=reason(str(error)) if error else None,
                    error=str(error)[:2000] if error else None,
                    elapsed_s=elapsed,
                    session=self._session,
                    predicted=self._scores[offset] if self._scores else None,
                )
            )
        self._journal.trials(trials)
        self._count += len(trials)
        self._round += 1
        self._outcome.measured += len(trials)
        self._progress.update(trials)
        limit = self._plan.timeout_s
        if limit is not None and time.perf_counter() - self._plan.begin >= limit:
            self._outcome.timed_out = self._count < self._plan.trials
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
    try:
        yield
    finally:
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
