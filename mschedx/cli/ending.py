"""The end of the command's process."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn


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
