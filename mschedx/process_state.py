"""What TVM's tuner does to the process around it, noticed or undone: signals, logging, seeds."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

import numpy as np

_LOGGER = "tvm.s_tir.meta_schedule"
_SEARCH_LOGGER = f"{_LOGGER}.mschedx.search"
_BINDINGS = "tvm_ffi"
_OUR_OWN = "mschedx"
_LOG_CALLBACK = "tvm.s_tir.meta_schedule.logging"
_POSTPONED_S = 0.005


@contextmanager
def interruptible(note: Callable[[], None]) -> Iterator[None]:
    """Call a function at Ctrl-C, then raise KeyboardInterrupt where TVM's bindings survive it.

    Libraries make other errors of it, or take it for a failure of their own, hence `note`. In two
    places the process dies of what is raised. While the bindings hand an error from Python to C++
    it is lost, and the error with it: C++ then reads one that is not there. And TVM writes its log
    from a destructor, which must not throw. So it is not raised there, but a moment later. Where
    Ctrl-C is ignored, as in the background of a script, it stays so, and so does a handler that is
    not Python's (None), as in R or a C++ program: it could not be put back.
    """
    kept = signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None)
    if kept or threading.current_thread() is not threading.main_thread():
        yield
        return
    postponed: list[threading.Timer] = []
    ended = False

    def handle(signum: int, frame: FrameType | None) -> None:
        note()
        if ended:
            return
        if not _is_fatal_in(frame):
            raise KeyboardInterrupt
        again = threading.Timer(
            _POSTPONED_S, signal.pthread_kill, (threading.main_thread().ident, signum)
        )
        postponed.append(again)
        again.daemon = True
        again.start()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        ended = True
        for timer in postponed:
            timer.cancel()
            timer.join()
        signal.signal(signal.SIGINT, previous)


def _is_fatal_in(frame: FrameType | None) -> bool:
    """Whether C++ does not survive what is raised in a frame."""
    ours = False
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        package = name.partition(".")[0]
        ours = ours or package == _OUR_OWN
        if name == _LOG_CALLBACK or (package == _BINDINGS and not ours):
            return True
        frame = frame.f_back
    return False


class _Kept:
    """Something of the process that runs change, of several threads at once perhaps.

    The first of them keeps what was, and the last one puts it back.

    Parameters
    ----------
    keep : callable
        Returns a function that puts back what is now.
    """

    def __init__(self, keep: Callable[[], Callable[[], None]]) -> None:
        self._keep, self._put_back = keep, lambda: None
        self._lock, self._users = threading.RLock(), set[object]()

    @contextmanager
    def during(self, change: Callable[[], None]) -> Iterator[None]:
        """Change it; it is as it was once all such blocks have ended."""
        user = object()
        try:
            with self._lock:
                if not self._users:
                    self._put_back = self._keep()
                self._users.add(user)
                change()
            yield
        finally:
            with self._lock:
                self._users.discard(user)
                if not self._users:
                    self._put_back()


def quiet_logging() -> AbstractContextManager[None]:
    """Keep MetaSchedule's log off the console (its files stay) and undo its logging set-up.

    Handlers that its logger had are put aside meanwhile: ``tune_tir`` fails on those without a
    name, and doubles its own.
    """
    return _LOGGING.during(_quieten)


def _quieten() -> None:
    root = logging.getLogger(_LOGGER)
    root.handlers.clear()
    root.setLevel(logging.ERROR)
    logging.raiseExceptions = False  # of a full disk


def _keep_logging() -> Callable[[], None]:
    root = logging.getLogger(_LOGGER)
    level, handlers, propagate = root.level, list(root.handlers), root.propagate
    complains = logging.raiseExceptions

    def put_back() -> None:
        logging.raiseExceptions = complains
        for name in [n for n in logging.root.manager.loggerDict if n.startswith(_LOGGER)]:
            logger = logging.getLogger(name)
            for handler in [one for one in logger.handlers if one not in handlers]:
                logger.removeHandler(handler)
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        root.propagate = propagate

    return put_back


def numpy_seed(seed: int) -> AbstractContextManager[None]:
    """Seed NumPy's global generator, which TVM's own "xgb" warms up with, and restore it."""
    return _NUMPY.during(lambda: np.random.seed(seed % 2**32))  # noqa: NPY002


def _keep_numpy() -> Callable[[], None]:
    state = np.random.get_state()  # noqa: NPY002
    return lambda: np.random.set_state(state)  # noqa: NPY002


_LOGGING, _NUMPY = _Kept(_keep_logging), _Kept(_keep_numpy)


@contextmanager
def search_log() -> Iterator[list[str]]:
    """Collect what mschedx's searches say meanwhile in this thread, in order and each once."""
    said: list[str] = []
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.thread == thread and text not in said:
            said.append(text)
        return True

    logger = logging.getLogger(_SEARCH_LOGGER)
    logger.addFilter(collect)  # tune_tir drops the handlers of existing loggers, and sets levels
    try:
        yield said
    finally:
        logger.removeFilter(collect)
