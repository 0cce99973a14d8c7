"""What is not, no longer or not wholly done that was asked for, told beside the log.

MetaSchedule's log goes to files of a work_dir, and nowhere for networks. Who tunes for a user
collects these lines (`listening`) and gives them with the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def pass_on(line: str) -> None:
    """Tell whoever listens in this thread what the log has, or need not have."""
    heard = _heard.get()
    if heard is not None and line not in heard:
        heard.append(line)


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect what is told meanwhile in this thread, in order and each line once."""
    heard: list[str] = []
    before = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(before)
