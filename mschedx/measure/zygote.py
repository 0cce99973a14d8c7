"""The process that has imported TVM once and forks every worker from itself.

Importing TVM takes a second; forking a process that has done so takes a few milliseconds. So one
*zygote* per session pays for the import (without torch, which no worker needs), and a worker that
crashed, hung or grew is replaced at the price of a fork. The zygote has one thread and runs no
candidate, so forking it is safe and nothing can kill it by accident.

How everything ends with the session, also after SIGKILL: the zygote holds one end of a socket
whose other end only the session has. End of file there (or a new parent process) makes it kill
the process group of every worker, remove the session's temporary directory, and exit; and Linux
kills a worker whose zygote has gone. A session that lives on says so before it closes the socket,
and keeps its directory: another zygote goes on with what is in it. Own sessions and groups keep a
Ctrl-C in the terminal away from both. On Linux the zygote is also the parent of all that a job
starts and leaves, whatever its session, and kills it once the worker has ended.

The module is what runs in the zygote; the session's side is :mod:`mschedx.measure.processes`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from mschedx import compat

from . import channel, failures

_PARENT_CHECK_S = 1.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LAST_ORPHANS_S = 1.0


def main(control_fd: int, parent: int) -> None:
    """Serve the session (process `parent`) at the other end of `control_fd` until it goes.

    Messages received: first ``(temporary directory, initializers)``, then ``(number, environment)``
    with two descriptors (the worker's job socket, its error file) for each worker to fork, and None
    at an orderly end. Messages sent:
    ``("ready", None)`` or ``("failed", reason)``, then ``("ended", number, status)`` for each
    worker that ended, where `status` is what ``os.waitpid`` gave. Sending waits for room: the
    session reads what was sent before it asks for another worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    directory, initializers = channel.receive(control)
    children: dict[int, int] = {}  # numbers of the workers by process id
    if sys.platform == "linux":  # what a worker leaves behind becomes a child of this process
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        with _ending_with(parent):
            _prepare(initializers)
        channel.send(control, ("ready", None))
        _serve(control, parent, children)
    except _ParentGone:
        shutil.rmtree(directory, ignore_errors=True)
    except BaseException:
        with contextlib.suppress(OSError):
            channel.send(control, ("failed", traceback.format_exc(limit=-5)))
    finally:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        _end_orphans()
        os._exit(0)


class _ParentGone(BaseException):
    """The session has ended."""


@contextlib.contextmanager
def _ending_with(parent: int) -> Iterator[None]:
    """Notice the end of the session also while something takes its time."""

    def look(*_: object) -> None:
        if os.getppid() != parent:
            raise _ParentGone

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _PARENT_CHECK_S, _PARENT_CHECK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _prepare(initializers: list[Any]) -> None:
    """Import what every worker needs and let the initializers register what candidates need."""
    with compat.without_torch():
        import tvm
        import tvm.s_tir.meta_schedule  # noqa: F401
    import mschedx.measure.work  # noqa: F401

    for pickled in initializers:
        import cloudpickle

        cloudpickle.loads(pickled)()
    gc.collect()
    gc.freeze()  # what is shared stays shared: the collector does not touch it in the children


def _serve(control: socket.socket, parent: int, children: dict[int, int]) -> None:
    wake_read, wake_write = socket.socketpair()
    wake_write.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([control, wake_read], [], [], _PARENT_CHECK_S)
        if os.getppid() != parent:
            raise _ParentGone
        if wake_read in ready:
            wake_read.recv(4096)
        for number, status in _ended(children):
            channel.send(control, ("ended", number, status))
            _kill_orphans(children)
        if control in ready:
            try:
                asked, descriptors = channel.receive_with_fds(control, 2)
            except EOFError:
                raise _ParentGone from None
            if asked is None:
                return
            number, environment = asked
            job_fd, error_fd = descriptors
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for other in (control, wake_read, wake_write):
                    other.close()
                _worker(environment, job_fd, error_fd)
            children[pid] = number
            os.close(job_fd)
            os.close(error_fd)


def _ended(children: dict[int, int]) -> list[tuple[int, int]]:
    """Reap what has ended: workers, whose numbers are told, and what they had left behind."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid in children:
                found.append((children.pop(pid), status))
            else:
                _kill_orphans(children)  # its own children are this process's now
    return found


def _kill_orphans(workers: Iterable[int]) -> None:
    """Kill the children of this process that are no workers: a job's, in sessions of their own."""
    for pid in _children().difference(workers):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _end_orphans() -> None:
    """Wait for killed workers, and kill what they leave, but not for ever."""
    end = time.monotonic() + _LAST_ORPHANS_S
    while time.monotonic() < end and (left := _children()):
        _ended(dict.fromkeys(left, 0))
        _kill_orphans(())
        time.sleep(0.001)


def _children() -> set[int]:
    """Process ids of the children of this process; empty where the system does not tell."""
    try:
        with open("/proc/thread-self/children", "rb") as file:
            return {int(pid) for pid in file.read().split()}
    except OSError:
        return set()


def _worker(environment: dict[str, str], job_fd: int, error_fd: int) -> None:
    """Be a worker: never returns."""
    zygote = os.getppid()
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != zygote:
            os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # writing one can take longer than a build
    os.environ.update(environment)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(error_fd, 1)
    os.dup2(error_fd, 2)
    job = socket.socket(fileno=job_fd)
    try:
        channel.send(job, ("hello", os.getpid()))
        while True:
            function, args = channel.receive(job)
            os.ftruncate(2, 0)  # the error file holds what the present job has said
            channel.send(job, _answer(function, args))
    except EOFError:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _answer(function: Any, args: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "done", function(*args)
    except MemoryError as error:
        return "memory", f"{error or 'out of memory'}"
    except Exception as error:
        trouble = failures.machine_trouble(error)
        if trouble is not None:
            return "machine", trouble
        return "raised", f"{type(error).__name__}: {error}"
