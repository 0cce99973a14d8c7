"""The session's side of the worker processes: give them jobs, outlive their deaths."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable

from mschedx import cgroups

from . import failures
from .processes import (
    TICK_S,
    Job,
    JobOutcome,
    PoolConfig,
    Worker,
    WorkerStartError,
    Zygote,
    readable,
)

_ATTEMPTS = 3
_PAUSE_S = 0.5  # before the second attempt; twice as long before the third


class Pool:
    """A fixed number of warm workers that carry out jobs one by one each."""

    def __init__(self, zygote: Zygote, config: PoolConfig):
        self._zygote = zygote
        self._config = config
        self._lock = threading.Lock()
        self._workers = [Worker(zygote, config) for _ in range(config.workers)]

    @property
    def directory(self) -> str:
        """Temporary directory of the session, removed when it ends."""
        return _session_directory()

    def alive(self) -> bool:
        """Whether the process that forks the workers still runs."""
        return self._zygote.process.poll() is None

    def has_worked(self) -> bool:
        """Whether its processes have ever started."""
        return self._zygote.ready

    def pids(self) -> list[int]:
        """Process ids of the workers (once they have started); for tests."""
        for worker in self._workers:
            worker.wait_ready()
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def map(
        self,
        jobs: Iterable[Callable[[], Job]],
        *,
        kind: str,
        timeout_s: float,
        done: Callable[[int, JobOutcome], None] | None = None,
    ) -> list[JobOutcome]:
        """Carry out `jobs`, as many at a time as there are workers; never raises for a job.

        Parameters
        ----------
        jobs : iterable of callables
            Each makes its job when a worker is free for it, so that preparing one overlaps with
            the work on others, and later jobs can depend on earlier outcomes.
        kind : str
            Category of an exception in a job, ``"build"`` or ``"run"``.
        timeout_s : float
            Limit of each job, seconds; a worker that exceeds it is killed and replaced.
        done : callable, optional
            Called with index and outcome as each job ends.

        Returns
        -------
        list of JobOutcome
            In the order of `jobs`.

        Raises
        ------
        WorkerStartError
            If the workers cannot start at all.
        """
        with self._lock:
            try:
                return _Batch(self, kind, timeout_s, done).run(list(jobs))
            except BaseException:
                self._replace_all()  # an interrupted worker still has a job: never reuse it
                raise

    def stop(self) -> None:
        """Kill all workers."""
        for worker in self._workers:
            worker.stop()

    def _replace(self, worker: Worker) -> Worker:
        worker.stop()
        fresh = Worker(self._zygote, self._config)
        self._workers[self._workers.index(worker)] = fresh
        return fresh

    def _replace_all(self) -> None:
        for worker in list(self._workers):
            with contextlib.suppress(WorkerStartError, OSError):
                self._replace(worker)


class _Batch:
    """One call of :meth:`Pool.map`."""

    def __init__(
        self,
        pool: Pool,
        kind: str,
        timeout_s: float,
        done: Callable[[int, JobOutcome], None] | None,
    ):
        self.pool = pool
        self.kind = kind
        self.timeout_s = timeout_s
        self.done = done

    def run(self, jobs: list[Callable[[], Job]]) -> list[JobOutcome]:
        outcomes: list[JobOutcome | None] = [None] * len(jobs)
        waiting = iter(range(len(jobs)))
        idle = list(self.pool._workers)
        busy: dict[Worker, tuple[int, float]] = {}

        def finish(worker: Worker, outcome: JobOutcome, *, reuse: bool) -> None:
            index, _ = busy.pop(worker)
            outcomes[index] = outcome
            if self.done is not None:
                self.done(index, outcome)
            if not reuse or worker.worn():
                worker = self.pool._replace(worker)
            idle.append(worker)

        while True:
            while idle and (index := next(waiting, None)) is not None:
                worker = idle.pop(0)
                worker.wait_ready()
                worker.start(jobs[index]())
                busy[worker] = (index, time.monotonic() + self.timeout_s)
            if not busy:
                return [outcome for outcome in outcomes if outcome is not None]
            ready = readable([w.sock for w in busy], TICK_S)
            for worker in [w for w in busy if w.sock in ready]:
                outcome = worker.outcome(self.kind)
                # After an illegal access every later CUDA call of the process fails too.
                reuse = outcome is not None and "CUDA" not in (outcome.error or "")
                finish(worker, outcome or JobOutcome(error=worker.post_mortem()), reuse=reuse)
            for worker, stopped in self._overdue(busy):
                finish(worker, stopped, reuse=False)

    def _overdue(self, busy: dict[Worker, tuple[int, float]]) -> list[tuple[Worker, JobOutcome]]:
        """Jobs to be stopped now, for their time or their memory."""
        found = []
        now, limit = time.monotonic(), self.pool._config.memory_bytes
        for worker, (_, deadline) in busy.items():
            used = worker.rss()
            if used > limit:
                text = f"memory: stopped at {used >> 20} MiB, the limit is {limit >> 20} MiB"
                found.append((worker, JobOutcome(error=text)))
            elif now > deadline:
                text = f"timeout: stopped after {self.timeout_s:g} s"
                found.append((worker, JobOutcome(error=text)))
        return found


def carry_out(
    config: PoolConfig,
    jobs: list[Callable[[], Job]],
    *,
    kind: str,
    timeout_s: float,
    done: Callable[[int, JobOutcome], None] | None = None,
) -> list[JobOutcome]:
    """:meth:`Pool.map` on the shared pool of `config`; jobs that the machine fails are done again.

    What kills all processes at once is not a candidate, but the system short of memory, or a
    person; and neither is a full disk. Jobs that have ended meanwhile are not repeated.

    Raises
    ------
    MachineTrouble
        If that is so three times in a row, or if the processes have never started.
    """
    outcomes: dict[int, JobOutcome] = {}
    missing, trouble = list(range(len(jobs))), ""

    def ended(position: int, outcome: JobOutcome) -> None:
        nonlocal trouble
        if outcome.machine is not None:
            trouble = outcome.machine
            return
        outcomes[missing[position]] = outcome
        if done is not None:
            done(missing[position], outcome)

    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE_S * attempt)
        try:
            pool = shared_pool(config)
        except (WorkerStartError, OSError) as error:
            trouble = str(error)
            continue
        try:
            pool.map([jobs[i] for i in missing], kind=kind, timeout_s=timeout_s, done=ended)
        except (WorkerStartError, OSError) as error:
            if isinstance(error, WorkerStartError) and not pool.has_worked():
                raise
            trouble = failures.machine_trouble(error) or str(error)
        missing = [i for i in missing if i not in outcomes]
        if not missing:
            return [outcomes[i] for i in range(len(jobs))]
    raise failures.MachineTrouble(trouble)


_pools: dict[tuple[int, PoolConfig], Pool] = {}
_zygotes: dict[tuple[int, bytes | None], Zygote] = {}
_directories: dict[int, str] = {}
_registry_lock = threading.Lock()


def shared_pool(config: PoolConfig) -> Pool:
    """Return the pool of `config`, started at the first request and warm until the session ends.

    Does not wait for the processes. A forked copy of the session gets its own.
    """
    session = os.getpid()
    with _registry_lock:
        pool = _pools.get((session, config))
        if pool is not None and not pool.alive():
            pool.stop()
            pool = None
        if pool is None:
            pool = _pools[(session, config)] = Pool(_zygote(config.initializer), config)
        return pool


def _zygote(initializer: bytes | None) -> Zygote:
    """Return the living zygote with this initializer, or a new one."""
    key = (os.getpid(), initializer)
    zygote = _zygotes.get(key)
    if zygote is not None and zygote.process.poll() is not None:
        zygote.close()
        zygote = None
    if zygote is None:
        initializers = [initializer] if initializer else []
        zygote = _zygotes[key] = Zygote(_session_directory(), initializers)
    return zygote


def _session_directory() -> str:
    """Where candidates are built: of the session, so that it outlives the processes."""
    session = os.getpid()
    if session not in _directories:
        _directories[session] = tempfile.mkdtemp(prefix="mschedx-")
    return _directories[session]


def start(initializer: bytes | None = None) -> None:
    """Start the worker processes' parent in the background now, if it does not run yet.

    Importing TVM takes it a second. Called before the session itself imports TVM (this module
    does not), the two overlap and the first build finds its workers ready.

    Parameters
    ----------
    initializer : bytes, optional
        That of the pools which will be asked for (`PoolConfig`).
    """
    with _registry_lock:
        _zygote(initializer)


def shutdown() -> None:
    """End all worker processes now; the next build or run starts new ones."""
    session = os.getpid()
    with _registry_lock:
        for key in [key for key in _pools if key[0] == session]:
            _pools.pop(key).stop()
        for key in [key for key in _zygotes if key[0] == session]:
            _zygotes.pop(key).close()
        if session in _directories:
            shutil.rmtree(_directories.pop(session), ignore_errors=True)


atexit.register(shutdown)


def total_memory_bytes() -> int:
    """Memory of the machine, or what a container leaves of it."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(physical, cgroups.memory_bytes() or physical)
