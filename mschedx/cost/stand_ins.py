"""Saying, once, that predictions for a device take the figures of another one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from mschedx.hardware import stand_in
from mschedx.user_warnings import warn_user

if TYPE_CHECKING:
    from tvm.target import Target

_SAID: ContextVar[bool] = ContextVar("_SAID", default=False)


class StandInWarning(UserWarning):
    """Predictions for a device take the figures of another one (`mschedx.hardware.stand_in`)."""


def warn_of_stand_in(target: Target) -> None:
    """Warn where a target's figures are not its own; Python shows the same text of a line once."""
    if not _SAID.get() and (note := stand_in(target)):
        warn_user(note, StandInWarning)


def notes_on_stand_in(target: Target, *parts: Any) -> tuple[str, ...]:
    """What a run says of it; nothing where one of its parts was given a device.

    Parameters
    ----------
    target : Target
    *parts
        Strategy and cost model, as ``ms.tune_tir`` takes them, or None; a model alone, too.
    """
    models = [
        one
        for part in parts
        for one in (part, getattr(part, "model", None), getattr(part, "draft", None))
    ]
    if any(getattr(model, "hardware", None) is not None for model in models):
        return ()
    note = stand_in(target)
    return (note,) if note else ()


@contextlib.contextmanager
def said_already() -> Iterator[None]:
    """Have no model warn in this block, whose caller has said it."""
    token = _SAID.set(True)
    try:
        yield
    finally:
        _SAID.reset(token)
