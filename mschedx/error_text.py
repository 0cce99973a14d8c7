"""One line of what an error says: TVM's messages are pages, and say why first or last."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """First line of an error's message; where it has none, the error as an expression."""
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    """Last line of an error's message; where it has none, the error as an expression."""
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    return str(error).strip().splitlines() or [repr(error)]
