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
    """Collect the signals of Ctrl-C, each of which raises KeyboardInterrupt as always."""
    found: list[int] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        found.append(signum)
        signal.default_int_handler(signum, frame)

    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    previous = signal.signal(signal.SIGINT, handle)
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
