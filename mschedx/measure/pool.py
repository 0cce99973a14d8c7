"""The session's side of the worker processes: start them, give them jobs, outlive their deaths."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mschedx import compat
from mschedx.measure import channel, failures

_TICK_S = 0.02  # how often memory and deadlines are looked at
_START_LIMIT_S = 180.0
_STATUS_LIMIT_S = 2.0
_ANSWER_LIMIT_S = 20.0  # from the first byte of an answer to its last
_LAST_WORDS_BYTES = 4096


class WorkerStartError(RuntimeError):
    """The worker processes cannot start, so nothing can be measured."""


@dataclass(frozen=True)
class Job:
    """One call in a worker: an importable function and picklable arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its value, or an error that begins with a category.

    See :mod:`mschedx.measure.failures` for the categories.
    """

    value: Any = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """What distinguishes one pool from another; equal configurations share their processes.

    Attributes
    ----------
    workers : int
        Number of processes.
    cores : int
        Cores that each may use.
    memory_bytes : int
        A worker whose resident memory exceeds this during a job is killed.
    initializer : bytes, optional
        Pickled function to run before the workers are forked.
    recycle_after : int
        Jobs after which an idle worker is replaced by a fresh one.
    recycle_growth_bytes : int
        Growth of an idle worker's resident memory after which it is replaced.
    """

    workers: int
    cores: int
    memory_bytes: int
    initializer: bytes | None = None
    recycle_after: int = 500
    recycle_growth_bytes: int = 1 << 30


class Zygote:
    """Handle of the process that forks workers; starts it without waiting for it."""

    def __init__(self, initializers: list[bytes]):
        self.directory = tempfile.mkdtemp(prefix="mschedx-")
        self._ended: dict[int, int] = {}
        self._reading = threading.Lock()
        self._sending = threading.Lock()
        self.ready = False
        self.sock, theirs = socket.socketpair()
        self._errors = _memory_file()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from mschedx.measure.zygote import main; main({theirs.fileno()}, {os.getpid()})"
        )
        with theirs:
            # A new session: a Ctrl-C in the terminal is for the parent alone.
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={**os.environ, **compat.cores_environment(1)},
            )
        channel.send(self.sock, (self.directory, initializers))

    def fork(self, environment: dict[str, str], job: socket.socket, errors: int) -> None:
        """Ask for a worker that serves the socket `job` and writes what it says to `errors`."""
        try:
            with self._sending:
                channel.send(self.sock, environment, (job.fileno(), errors))
        except OSError:
            raise WorkerStartError(self._why()) from None

    def wait_ready(self, limit_s: float) -> None:
        """Return when TVM is imported; raise WorkerStartError if that fails or takes too long."""
        if not self.ready and not self._read(limit_s):
            raise WorkerStartError(f"the worker processes did not start within {limit_s:.0f} s")

    def status(self, pid: int) -> int | None:
        """How the worker `pid` ended (``os.waitpid``'s status); None if it is not told in time."""
        end = time.monotonic() + _STATUS_LIMIT_S
        while pid not in self._ended and time.monotonic() < end:
            self._read(_TICK_S)  # briefly: another thread may have read what is waited for
        return self._ended.pop(pid, None)

    def _read(self, limit_s: float) -> bool:
        with self._reading:
            if not _readable([self.sock], limit_s):
                return False
            try:
                message = channel.receive(self.sock)
            except EOFError:
                raise WorkerStartError(self._why()) from None
        if message[0] == "failed":
            raise WorkerStartError(
                "the worker processes could not start; their initializer (or import tvm) "
                f"raised:\n{message[1]}"
            )
        if message[0] == "ready":
            self.ready = True
        else:
            self._ended[message[1]] = message[2]
        return True

    def _why(self) -> str:
        said = _last_words(self._errors)
        return (
            f"the process that starts workers has ended:\n{said}"
            if said
            else ("the process that starts workers has ended")
        )

    def close(self) -> None:
        """End the zygote, and with it every worker; once is enough."""
        if self._errors < 0:
            return
        self.sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=2)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._errors)
        self._errors = -1


class Worker:
    """Handle of one worker process: at most one job at a time."""

    def __init__(self, zygote: Zygote, config: PoolConfig):
        self._zygote = zygote
        self._config = config
        self._errors = _memory_file()
        self.sock, theirs = socket.socketpair()
        with theirs:
            zygote.fork(compat.cores_environment(config.cores), theirs, self._errors)
        self.pid: int | None = None
        self.jobs = 0
        self._first_rss: int | None = None

    def wait_ready(self) -> None:
        """Wait for the first sign of life."""
        if self.pid is not None:
            return
        self._zygote.wait_ready(_START_LIMIT_S)
        try:
            self.sock.settimeout(_START_LIMIT_S)
            self.pid = channel.receive(self.sock)[1]
        except (EOFError, TimeoutError):
            raise WorkerStartError(f"a worker died at once:\n{self.last_words()}") from None
        finally:
            self.sock.settimeout(None)
        self._first_rss = self.rss()

    def rss(self) -> int:
        """Resident memory, bytes; 0 where it cannot be read."""
        try:
            if sys.platform == "linux":
                with open(f"/proc/{self.pid}/statm", "rb") as file:
                    return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            import psutil

            return psutil.Process(self.pid).memory_info().rss
        except (OSError, ImportError, IndexError):
            return 0
        except Exception as error:  # psutil is imported lazily: its class is not known here
            if type(error).__module__.startswith("psutil"):
                return 0
            raise

    def worn(self) -> bool:
        """Whether it should be replaced before it leaks more."""
        grown = self.rss() - (self._first_rss or 0)
        return self.jobs >= self._config.recycle_after or grown > self._config.recycle_growth_bytes

    def start(self, job: Job) -> None:
        """Hand over a job; an answer or end of file will follow on ``sock``."""
        self.jobs += 1
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            channel.send(self.sock, (job.function, job.args))

    def outcome(self, kind: str) -> Outcome | None:
        """Read the answer; None if the worker has died instead, or talks nonsense."""
        self.sock.settimeout(_ANSWER_LIMIT_S)
        try:
            tag, value = channel.receive(self.sock)
        except (EOFError, TimeoutError, pickle.UnpicklingError):
            return None
        finally:
            self.sock.settimeout(None)
        if tag == "done":
            return Outcome(value=value)
        if tag == "memory" or failures.out_of_memory(value):
            return Outcome(error=f"memory: {value}")
        return Outcome(error=f"{kind}: {value}")

    def post_mortem(self) -> str:
        """Error message for a worker that died by itself."""
        status = self._zygote.status(self.pid) if self.pid else None
        return failures.crash_message(status, self.last_words())

    def last_words(self) -> str:
        """Return the end of what the present job wrote to its error output."""
        return _last_words(self._errors)

    def stop(self) -> None:
        """Kill it and what it started; once is enough."""
        if self._errors < 0:
            return
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.sock.close()
        os.close(self._errors)
        self._errors = -1  # the number may soon be another file's


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
        return self._zygote.directory

    def alive(self) -> bool:
        """Whether the process that forks the workers still runs."""
        return self._zygote.process.poll() is None

    def has_worked(self) -> bool:
        """Whether its processes have ever started."""
        return self._zygote.ready

    def pids(self) -> list[int]:
        """Process ids of the workers (once they have started)."""
        for worker in self._workers:
            worker.wait_ready()
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def map(
        self,
        jobs: Iterable[Callable[[], Job]],
        *,
        kind: str,
        timeout_s: float,
        done: Callable[[int, Outcome], None] | None = None,
    ) -> list[Outcome]:
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
        list of Outcome
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
            with contextlib.suppress(WorkerStartError):
                self._replace(worker)


class _Batch:
    """One call of :meth:`Pool.map`."""

    def __init__(
        self,
        pool: Pool,
        kind: str,
        timeout_s: float,
        done: Callable[[int, Outcome], None] | None,
    ):
        self.pool = pool
        self.kind = kind
        self.timeout_s = timeout_s
        self.done = done

    def run(self, jobs: list[Callable[[], Job]]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(jobs)
        waiting = iter(range(len(jobs)))
        idle = list(self.pool._workers)
        busy: dict[Worker, tuple[int, float]] = {}

        def finish(worker: Worker, outcome: Outcome, *, reuse: bool) -> None:
            index, _ = busy.pop(worker)
            outcomes[index] = outcome
            if not reuse or worker.worn():
                worker = self.pool._replace(worker)
            idle.append(worker)
            if self.done is not None:
                self.done(index, outcome)

        while True:
            while idle and (index := next(waiting, None)) is not None:
                worker = idle.pop(0)
                worker.wait_ready()
                worker.start(jobs[index]())
                busy[worker] = (index, time.monotonic() + self.timeout_s)
            if not busy:
                return [outcome for outcome in outcomes if outcome is not None]
            ready = _readable([w.sock for w in busy], _TICK_S)
            for worker in [w for w in busy if w.sock in ready]:
                outcome = worker.outcome(self.kind)
                alive = outcome is not None
                finish(worker, outcome or Outcome(error=worker.post_mortem()), reuse=alive)
            for worker, stopped in self._overdue(busy):
                finish(worker, stopped, reuse=False)

    def _overdue(self, busy: dict[Worker, tuple[int, float]]) -> list[tuple[Worker, Outcome]]:
        """Jobs to be stopped now, for their time or their memory."""
        found = []
        now, limit = time.monotonic(), self.pool._config.memory_bytes
        for worker, (_, deadline) in busy.items():
            used = worker.rss()
            if used > limit:
                text = f"memory: stopped at {used >> 20} MiB, the limit is {limit >> 20} MiB"
                found.append((worker, Outcome(error=text)))
            elif now > deadline:
                text = f"timeout: stopped after {self.timeout_s:g} s"
                found.append((worker, Outcome(error=text)))
        return found


def carry_out(
    config: PoolConfig,
    jobs: list[Callable[[], Job]],
    *,
    kind: str,
    timeout_s: float,
    done: Callable[[int, Outcome], None] | None = None,
) -> list[Outcome]:
    """:meth:`Pool.map` on the shared pool of `config`, once more if its processes were killed.

    What kills all of them at once is not a candidate: the system short of memory, or a person.
    """
    pool = shared_pool(config)
    try:
        return pool.map(jobs, kind=kind, timeout_s=timeout_s, done=done)
    except WorkerStartError:
        if not pool.has_worked():
            raise
        return shared_pool(config).map(jobs, kind=kind, timeout_s=timeout_s, done=done)


_pools: dict[tuple[int, PoolConfig], Pool] = {}
_zygotes: dict[tuple[int, bytes | None], Zygote] = {}
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
        zygote = _zygotes[key] = Zygote([initializer] if initializer else [])
    return zygote


def start() -> None:
    """Start the worker processes' parent in the background now, if it does not run yet.

    Importing TVM takes it a second. Called before the session itself imports TVM (this module
    does not), the two overlap and the first build finds its workers ready.
    """
    with _registry_lock:
        _zygote(None)


def shutdown() -> None:
    """End all worker processes now; the next build or run starts new ones."""
    session = os.getpid()
    with _registry_lock:
        for key in [key for key in _pools if key[0] == session]:
            _pools.pop(key).stop()
        for key in [key for key in _zygotes if key[0] == session]:
            _zygotes.pop(key).close()


atexit.register(shutdown)


def total_memory_bytes() -> int:
    """Physical memory of the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _readable(socks: list[socket.socket], limit_s: float) -> list[socket.socket]:
    """Wait for one of `socks` to have data or to be closed (any number of open files is fine)."""
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    found = {fd for fd, _ in poll.poll(limit_s * 1e3)}
    return [sock for sock in socks if sock.fileno() in found]


def _memory_file() -> int:
    """Descriptor of an unnamed file to which several processes can append."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("mschedx-errors")
    else:
        with tempfile.TemporaryFile(buffering=0) as file:
            fd = os.dup(file.fileno())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
    return fd


def _last_words(fd: int) -> str:
    if fd < 0:
        return ""
    size = os.fstat(fd).st_size
    start = max(0, size - _LAST_WORDS_BYTES)
    return os.pread(fd, size - start, start).decode(errors="replace").strip()
