"""What a search tells its user: that it does not, or no longer, do all it was asked to.

MetaSchedule's log goes to files of a work_dir, and nowhere for networks. Who tunes for a user
collects these lines beside it (`listening`) and gives them with the result.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.search")

_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def tell(level: int, text: str, *arguments: Any) -> None:
    """Log a line, and tell it whoever listens in this thread.

    Parameters
    ----------
    level : int
        As of `logging`.
    text : str
        With the places of ``arguments``, as loggers take them.
    *arguments
    """
    logger.log(level, text, *arguments)
    pass_on(text % arguments)


def pass_on(line: str) -> None:
    """Tell whoever listens in this thread what the log has already, or need not have."""
    heard = _heard.get()
    if heard is not None and line not in heard:
        heard.append(line)


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what searches tell meanwhile in this thread, in order and each line once."""
    heard: list[str] = []
    before = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(before)
