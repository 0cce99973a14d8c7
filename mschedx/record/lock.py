"""Locks on files, which end with the process that holds them, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import WorkDirError

LOCK = "mschedx.lock"
"""Name of the lock of a folder."""


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
    WorkDirError
        If there is another writer, in this process or in another one.
    """
    handle = open(directory / LOCK, "a+")  # noqa: SIM115  (held as long as the lock)
    try:
        if not try_lock(handle):
            handle.seek(0)
            owner = handle.read().strip() or "another process"
            raise WorkDirError(f"{directory} is being {what} by {owner}; {instead}")
        handle.seek(0)
        handle.truncate()
        handle.write(f"process {os.getpid()}\n")
        handle.flush()
        yield
    finally:
        handle.close()


def try_lock(handle: Any) -> bool:
    """Take an exclusive lock that ends with the process; False when another holds it."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        try:
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
