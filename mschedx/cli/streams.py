"""Standard streams that may be closed, full or unread, and what is said then, in one line."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Any


def about(error: OSError) -> str:
    """One line with the file that an error of the system is about.

    Files of ours give their names; a stream has none.
    """
    stream = error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF)
    where = error.filename or ("standard output" if stream else "")
    return f"{error.strerror or error}" + (f": {where}" if where else "")


def complain(text: str) -> None:
    """Say what is wrong on the error stream, if anybody listens."""
    say(f"mschedx: {text}")


def say(text: str) -> None:
    """Say how far a command is, beside what it prints; whoever read that may have gone."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def flush(stream: Any) -> None:
    """Write what is left now, while it can be said that it cannot be written."""
    try:
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError:
        abandon(stream)
        raise


def abandon(stream: Any) -> None:
    """Let a stream lead nowhere, so that Python does not complain of it when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def open_streams() -> None:
    """Let standard streams that the caller closed lead nowhere; no other file takes their place."""
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(free)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115  (stays open)
