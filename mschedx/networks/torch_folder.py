"""The folder of captured graphs that were given none: one for a process, which goes with it."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from typing import Any

_OF_A_CALL = ("progress", "timeout_s")
"""Arguments of `tune_model` that say nothing of what is measured."""


def own_folder(tuning: Mapping[str, Any]) -> str:
    """Give the folder for graphs of this process that are tuned alike.

    What is made anew, for other weights or sizes, and graphs that are equal find the records of
    those before. A folder holds what was measured for one target, and by one kind of search.

    Parameters
    ----------
    tuning : mapping
        Arguments of `tune_model`, but for its trials.

    Raises
    ------
    OSError
        If there is no place for it.
    """
    asked = sorted((name, _name(value)) for name, value in tuning.items() if name not in _OF_A_CALL)
    return _made(os.getpid(), tuple(asked))


def _name(value: Any) -> str:
    """What is the same for arguments that ask for the same; parts are told from one another."""
    plain = isinstance(value, str | int | float | dict | None)
    return repr(value) if plain else f"{type(value).__name__} {id(value)}"


@cache
def _made(process: int, asked: tuple[tuple[str, str], ...]) -> str:
    del asked
    folder = tempfile.mkdtemp(prefix="mschedx-torch-")
    atexit.register(_remove, folder, process)
    return folder


def _remove(folder: str, process: int) -> None:
    """Remove it, unless this is a fork of the process that has it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def forget() -> None:
    """Begin anew: graphs that are captured from now on find no records."""
    _made.cache_clear()
