"""What TVM's tuner does to the process around it, noticed or undone: signals, logging, seeds."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    Ctrl-C is ignored, as in the background of a script, it stays so.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
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
def numpy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which TVM's own "xgb" warms up with, and restore it."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


@contextmanager
def search_log() -> Iterator[list[str]]:
    """Collect what mschedx's searches say meanwhile, in order and each once."""
    said: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text not in said:
            said.append(text)
        return True

    logger = logging.getLogger(_SEARCH_LOGGER)
    logger.addFilter(collect)  # tune_tir drops the handlers of existing loggers, and sets levels
    try:
        yield said
    finally:
        logger.removeFilter(collect)
