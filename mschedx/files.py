"""Files that are written whole or not at all: a reader, a kill or a full disk finds the old one."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

_Written = TypeVar("_Written")

_BESIDE = ".mschedx-"


@contextmanager
def whole(place: Path) -> Iterator[Path]:
    """Give a path to write a file to, which takes its place once the block has ended well.

    Parameters
    ----------
    place : Path
        In a folder that is there. What it links to is replaced, not the link; what is no file, such
        as a pipe, is written to as it is.

    Yields
    ------
    Path
        Of the same name, in a folder of its own beside it, which goes with the block.

    Raises
    ------
    OSError
        With the file's name; what lay there is then as it was.
    """
    place = Path(os.path.realpath(place))
    if place.exists() and not (place.is_file() or place.is_dir()):
        yield place
        return
    try:
        with tempfile.TemporaryDirectory(prefix=_BESIDE, dir=place.parent) as folder:
            beside = Path(folder) / place.name
            yield beside
            os.replace(beside, place)
    except OSError as error:
        if _BESIDE in str(error.filename or ""):
            raise OSError(error.errno, error.strerror, str(place)) from error
        raise named(error, place) from error


def write_atomic(path: Path, text: str) -> None:
    """Replace a text so that a reader or a crash sees the old or the new one, as `whole` does.

    Raises
    ------
    OSError
        With the file's name; the old file is then as it was.
    """
    with whole(path) as beside:
        # Names of files may hold bytes that are no text.
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def written_before(
    write: Callable[[], _Written], troubles: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[_Written | None]:
    """Write files, then print in this block what is to be seen though they cannot be written.

    Parameters
    ----------
    write : callable
        Called first: whoever reads what is printed may have seen enough before it is all said.
    troubles : tuple of type
        What it may raise where something cannot be written.

    Yields
    ------
    object or None
        What it gives; None where something cannot be written.

    Raises
    ------
    Exception
        What it has raised: one of ``troubles`` once the block has ended.
    """
    trouble, written = None, None
    try:
        written = write()
    except BrokenPipeError:
        raise
    except troubles as error:
        trouble = error
    try:
        yield written
    except BrokenPipeError:
        if trouble is None:
            raise
    if trouble is not None:
        raise trouble


def require_writable(folder: Path) -> None:
    """Look whether files may be made in a folder, which need not be there.

    Raises
    ------
    OSError
    """
    folder = folder.absolute()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(there))
    try:
        tempfile.TemporaryDirectory(prefix=_BESIDE, dir=there).cleanup()
    except FileNotFoundError as error:  # as /proc says it
        raise PermissionError(errno.EACCES, "No files can be made there", str(there)) from error


def named(error: OSError, path: Path) -> OSError:
    """Give an error of the system the file that it is about."""
    if error.errno is None or error.filename is not None:
        return error
    return OSError(error.errno, error.strerror, str(path))
