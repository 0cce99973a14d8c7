"""Handles of the zygote and of one worker: start them, talk to them, read how they ended."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mschedx import compat

from . import channel, failures

TICK_S = 0.02  # how often memory and deadlines are looked at
_START_LIMIT_S = 180.0
_STATUS_LIMIT_S = 2.0
_ANSWER_LIMIT_S = 20.0  # from the first byte of an answer to its last
_LAST_WORDS_BYTES = 4096


class WorkerStartError(failures.MachineTrouble):
    """The worker processes cannot start, so nothing can be measured."""


@dataclass(frozen=True)
class Job:
    """One call in a worker: an importable function and picklable arguments."""

    function: Callable[..., Any]
    args: tuple[Any, ...]


@dataclass(frozen=True)
class JobOutcome:
    """What became of a job: its value, or an error that begins with a category.

    See :mod:`mschedx.measure.failures` for the categories. `machine` is what the machine lacks to
    carry out any job at all.
    """

    value: Any = None
    error: str | None = None
    machine: str | None = None


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
    """Handle of the process that forks workers; starts it without waiting for it.

    Parameters
    ----------
    directory : str
        The session's temporary directory, which it removes if the session dies.
    initializers : list of bytes
        Pickled functions that it calls before it forks.
    """

    def __init__(self, directory: str, initializers: list[bytes]):
        if not sys.executable:
            raise WorkerStartError(
                "expected sys.executable to be the Python that worker processes are started with, "
                f"got {sys.executable!r}: an embedded interpreter has to set it"
            )
        self._numbers = itertools.count()
        self._living: set[int] = set()
        self._ended: dict[int, int] = {}
        self._failure = ""
        self._reading = threading.Lock()
        self._sending = threading.Lock()
        self.ready = False
        self.sock, theirs = socket.socketpair()
        self._errors = _memory_file()
        # What is no text in sys.path, imports pass over, and its repr may be no expression.
        path = [str(place) for place in sys.path if isinstance(place, str)]
        code = (
            f"import sys; sys.path[:] = {path!r}; "
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
        channel.send(self.sock, (directory, initializers))

    def fork(self, environment: dict[str, str], job: socket.socket, errors: int) -> int:
        """Ask for a worker that serves the socket `job` and writes what it says to `errors`.

        Returns
        -------
        int
            The number by which the zygote tells of it; process ids come again.
        """
        self._drain()
        try:
            with self._sending:
                number = next(self._numbers)
                self._living.add(number)
                channel.send(self.sock, (number, environment), (job.fileno(), errors))
        except OSError:
            raise WorkerStartError(self._why()) from None
        return number

    def wait_ready(self, limit_s: float) -> None:
        """Return when TVM is imported; raise WorkerStartError if that fails or takes too long."""
        end = time.monotonic() + limit_s
        while not self.ready:
            if time.monotonic() > end:
                raise WorkerStartError(f"the worker processes did not start within {limit_s:.0f} s")
            self._read(TICK_S)  # briefly: another thread may have read what is waited for

    def status(self, number: int) -> int | None:
        """How a worker ended (``os.waitpid``'s status); None if it is not told in time."""
        end = time.monotonic() + _STATUS_LIMIT_S
        while number not in self._ended and time.monotonic() < end:
            self._read(TICK_S)
        return self._ended.pop(number, None)

    def forget(self, number: int) -> None:
        """Never mind how a worker ends: it is stopped."""
        self._living.discard(number)
        self._ended.pop(number, None)

    def _read(self, limit_s: float) -> None:
        """Read what the zygote says, if it begins within the limit."""
        with self._reading:
            self._take(limit_s)

    def _drain(self) -> None:
        """Read what was said: a zygote that nobody reads waits in the end, and forks no more."""
        if self.sock.fileno() >= 0 and self._reading.acquire(blocking=False):
            try:
                self._take(0.0)
            finally:
                self._reading.release()

    def _take(self, limit_s: float) -> None:
        while readable([self.sock], limit_s):
            limit_s = 0.0
            try:
                tag, *said = channel.receive(self.sock)
            except EOFError:
                raise WorkerStartError(self._why()) from None
            if tag == "failed":
                self._failure = said[0]
                raise WorkerStartError(self._why())
            if tag == "ready":
                self.ready = True
            elif said[0] in self._living:
                self._living.discard(said[0])
                self._ended[said[0]] = said[1]

    def _why(self) -> str:
        if self._failure:
            return (
                "the worker processes could not start; their initializer (or import tvm) "
                f"raised:\n{self._failure}"
            )
        said = _last_words(self._errors)
        return "the process that starts workers has ended" + (f":\n{said}" if said else "")

    def close(self) -> None:
        """End the zygote, and with it every worker; once is enough."""
        if self._errors < 0:
            return
        with contextlib.suppress(OSError):
            channel.send(self.sock, None)
        self.sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=2)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
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
            self._number = zygote.fork(compat.cores_environment(config.cores), theirs, self._errors)
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

    def outcome(self, kind: str) -> JobOutcome | None:
        """Read the answer; None if the worker has died instead, or talks nonsense."""
        self.sock.settimeout(_ANSWER_LIMIT_S)
        try:
            tag, value = channel.receive(self.sock)
        except (EOFError, TimeoutError, pickle.UnpicklingError):
            return None
        finally:
            self.sock.settimeout(None)
        if tag == "done":
            return JobOutcome(value=value)
        if tag == "machine":
            return JobOutcome(machine=value)
        if tag == "memory" or failures.out_of_memory(value):
            return JobOutcome(error=f"memory: {value}")
        return JobOutcome(error=f"{kind}: {value}")

    def post_mortem(self) -> str:
        """Error message for a worker that died by itself."""
        status = self._zygote.status(self._number)
        return failures.crash_message(status, self.last_words())

    def last_words(self) -> str:
        """Return the end of what the present job wrote to its error output."""
        return _last_words(self._errors)

    def stop(self) -> None:
        """Kill it and what it started; once is enough."""
        if self._errors < 0:
            return
        self._zygote.forget(self._number)
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.sock.close()
        os.close(self._errors)
        self._errors = -1  # the number may soon be another file's


def readable(socks: list[socket.socket], limit_s: float) -> list[socket.socket]:
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
