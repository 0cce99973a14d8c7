"""What a user names on a command line: a known name, or ``module:attribute`` of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        One of ``known``, or ``module:attribute`` of a callable that can be imported.
    known : mapping of str
    own : callable
        Makes what is known of a user's callable and its name.
    what : str
        What is looked for, for messages.

    Raises
    ------
    ValueError
        For an unknown name, with those that are known; for a module or attribute that is missing
        or cannot be called.
    """
    if name in known:
        return known[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(
            f"unknown {what} {name}; there are {', '.join(known)}, or module:attribute of your own"
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot import {what} {name}: {error}") from error
    if not callable(found):
        raise ValueError(f"expected {name} to be callable, got {type(found).__name__}")
    return own(name, found)
