"""JSON-lines files that may have been cut short: one object a line, one way to number them.

A kill or a full disk can end a file anywhere, also between a line's text and its newline; the
next writer must not glue its line on. Lines are numbered from 0 in the order they stand, those
that are broken included, blank ones left out: that is what their writers counted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mschedx.files import named, write_atomic


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a JSON-lines file: its place, text, and content (None: not whole JSON)."""

    number: int
    text: str
    content: Any


class Reader:
    """Reads files that mostly grow, parsing only what was added since the last time."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[bytes, list[Line]]] = {}

    def lines(self, path: Path) -> list[Line]:
        """As :func:`read_lines`; the contents are shared between calls and must not be changed."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            self._known.pop(path, None)
            return []
        before, lines = self._known.get(path, (b"", []))
        if not data.startswith(before):
            before, lines = b"", []
        lines = lines + _lines(data[len(before) :], len(lines))
        whole = data.rfind(b"\n") + 1  # what follows may still get an end
        kept = lines[:-1] if data[whole:].strip() else lines
        self._known[path] = (data[:whole], kept)
        return lines


def read_lines(path: Path) -> list[Line]:
    """Read a JSON-lines file, broken lines included; empty when there is no file."""
    return Reader().lines(path)


def _lines(data: bytes, first: int) -> list[Line]:
    texts = (text for text in data.split(b"\n") if text.strip())
    return [
        Line(number, text.decode(errors="replace"), parse(text))
        for number, text in enumerate(texts, first)
    ]


def parse(text: bytes | str) -> Any:
    """Read one line; None for what is not JSON, NaN, infinities and endless nesting included."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def append_lines(path: Path, contents: Iterable[Any]) -> None:
    """Add lines, the first on a line of its own also after one that was cut short.

    Raises
    ------
    OSError
        With the file's name where the system gave none, for instance when the disk is full.
    """
    text = "".join(json.dumps(content) + "\n" for content in contents)
    try:
        with path.open("a+b") as file:
            file.write(("" if _ends_whole(file) else "\n").encode() + text.encode())
    except OSError as error:
        raise named(error, path) from error


def ends_whole(path: Path) -> bool:
    """Whether a file is empty, absent, or ends with a newline."""
    try:
        with path.open("rb") as file:
            return _ends_whole(file)
    except FileNotFoundError:
        return True


def _ends_whole(file: Any) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def write_lines(path: Path, texts: Iterable[str]) -> None:
    """Replace a file by lines of these texts, at once."""
    write_atomic(path, "".join(text + "\n" for text in texts))
