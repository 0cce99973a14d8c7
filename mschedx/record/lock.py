"""Locks on files, which end with the process that holds them, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import WorkDirInUse, WorkDirNotWritable

LOCK = "mschedx.lock"
"""Name of the lock of a folder."""

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""How the system says that another one holds a lock; whatever else it says is another trouble."""

_LOOK_S = 0.2
"""Seconds between two looks at a lock that is waited for."""


@contextmanager
def locked(directory: Path, what: str, instead: str) -> Iterator[None]:
    """Keep other writers out of a folder.

    Parameters
    ----------
    directory : Path
        That is there.
    what, instead : str
        Of the message to another writer: what goes on in the folder, and what to do.

    Raises
    ------
    WorkDirInUse
        If there is another writer, in this process or in another one.
    WorkDirNotWritable
        If the file system has no locks.
    """
    with open(directory / LOCK, "a+") as handle:
        try:
            taken = try_lock(handle)
        except OSError as error:
            raise WorkDirNotWritable(f"{directory} cannot be {what}: {error.strerror}") from error
        if not taken:
            raise WorkDirInUse(f"{directory} is being {what} by {_owner(handle)}; {instead}")
        _sign(handle, f"process {os.getpid()}\n")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a share that is gone: the lock ends all the same
                _sign(handle, "")


def wait_until_free(directory: Path, limit_s: float) -> bool:
    """Wait until nobody writes into a folder; False where somebody still does after `limit_s`.

    Parameters
    ----------
    directory : Path
    limit_s : float
        Seconds; ``math.inf`` for no limit.

    Raises
    ------
    OSError
        If the file system has no locks, or the folder is gone.
    """
    end = time.monotonic() + limit_s
    while True:
        with open(directory / LOCK, "a+") as handle:
            if try_lock(handle):
                return True
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(_LOOK_S, left))


def _sign(handle: Any, text: str) -> None:
    handle.seek(0)
    handle.truncate()
    handle.write(text)
    handle.flush()


def _owner(handle: Any) -> str:
    """Who signed a lock; of a process that is not there any more, another one that has not yet."""
    handle.seek(0)
    found = re.fullmatch(r"process (\d+)\s*", handle.read())
    if found is None:
        return "another process"
    try:
        os.kill(int(found[1]), 0)
    except PermissionError:  # somebody else's, and alive
        pass
    except (OSError, OverflowError):
        return "another process"
    return f"process {found[1]}"


def try_lock(handle: Any) -> bool:
    """Take an exclusive lock that ends with the process; False when another holds it.

    Raises
    ------
    OSError
        If the file system has no locks: there is nobody to wait for.
    """
    try:
        _lock(handle)
    except OSError as error:
        if error.errno in _HELD:
            return False
        why = f"locks do not work on this file system ({error.strerror}): use a local disk"
        raise OSError(error.errno, why, handle.name) from error
    return True


def _lock(handle: Any) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
