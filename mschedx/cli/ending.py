"""The end of the command's process, and what asks for it."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


@contextlib.contextmanager
def noticed_interrupts() -> Iterator[list[int]]:
    """Collect the signals of Ctrl-C, each of which raises KeyboardInterrupt or what it always does.

    A shell has what runs in the background of a script ignore Ctrl-C, and so it stays.
    """
    found: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    raises = previous if callable(previous) else signal.default_int_handler

    def handle(signum: int, frame: FrameType | None) -> None:
        found.append(signum)
        raises(signum, frame)

    # A handler that is not Python's (None) could not be put back.
    apart = threading.current_thread() is not threading.main_thread()
    if apart or previous in (None, signal.SIG_IGN):
        yield found
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, previous)


def leave(status: int) -> NoReturn:
    """End the process as Python does, but for taking the interpreter apart.

    Threads are waited for, exit functions run (worker processes end, temporary folders go), streams
    are written out. What follows in Python destroys objects of TVM, XGBoost and PyTorch, whose
    destructors call Python, in no particular order beside their threads; none of it is of use to
    a process that is about to be gone.
    """
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is near enough
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)
