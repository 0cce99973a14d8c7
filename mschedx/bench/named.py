"""What a user names on a command line: a known name, or ``module:attribute`` of their own."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, TypeVar

Known = TypeVar("Known")


def find_named(
    name: str,
    known: Mapping[str, Known],
    own: Callable[[str, Callable[..., Any]], Known],
    what: str,
) -> Known:
    """Look a name up.

    Parameters
    ----------
    name : str
        One of ``known``, or ``module:attribute`` of a callable that can be imported, also from the
        working directory, which stays on ``sys.path`` then.
    known : mapping of str
    own : callable
        Makes what is known of a user's callable and its name.
    what : str
        What is looked for, for messages.

    Raises
    ------
    ValueError
        For an unknown name, with those that are known and the nearest; for a module or attribute
        that is missing or cannot be called.
    """
    if name in known:
        return known[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(
            f"unknown {what} {name}; there are {', '.join(known)}, or module:attribute of your own"
            f"{_nearest(name, known)}"
        )
    before = sys.path.count("")
    sys.path.insert(0, "")  # as `python -m` finds modules of the folder it is started in
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"cannot import {what} {name}: {error}{_nearest(module, known)}"
        ) from error
    finally:
        if sys.path.count("") > before:  # the module may have taken it off
            sys.path.remove("")
    _keep_on_path(os.getcwd())
    if not callable(found):
        raise ValueError(f"expected {name} to be callable, got {type(found).__name__}")
    return own(name, found)


def made_by(name: str, function: Callable[[], Any]) -> Any:
    """What a user's callable returns.

    Raises
    ------
    ValueError
        If it imports what is not there.
    """
    try:
        return function()
    except ImportError as error:
        raise ValueError(f"{name}() cannot import what it needs: {error}") from error


def _keep_on_path(folder: str) -> None:
    """Have found what a user's module imports later, too; last, so that it shadows nothing."""
    if not {"", folder} & set(sys.path):
        sys.path.append(folder)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
