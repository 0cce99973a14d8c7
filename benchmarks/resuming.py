"""Files of rows that a benchmark goes on with: one call's rows must not stand for another's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mschedx.record.lines import ends_whole

Row = dict[str, Any]


def options_of(arguments: Any, *names: str) -> Row:
    """The options that decide what a row says, as every row is to keep them (``"options"``)."""
    return {name: getattr(arguments, name) for name in names}


class Rows:
    """Rows of a file that is gone on with, each written as soon as it is known.

    A row that a kill has cut short is none, and the next begins on a line of its own. Ends the
    program if rows were made with other options; those that do not say with which are taken as they
    are.

    Parameters
    ----------
    path : Path, optional
        Made when it does not exist; nothing is kept when None.
    options : Row
        That every new row keeps.

    Attributes
    ----------
    rows : list of Row
        Those of the file, and those that were added.
    """

    def __init__(self, path: Path | None, options: Row) -> None:
        self.rows = [] if path is None else rows_of(path)
        self._path, self._options = path, options
        for row in self.rows:
            had = row.get("options", options)
            if had != options:
                said = ", ".join(f"{name} {value}" for name, value in had.items())
                sys.exit(
                    f"{path} has rows made with other options ({said}); take these, or a new file"
                )

    def append(self, row: Row) -> None:
        """Keep a row, with the options."""
        self.rows.append({**row, "options": self._options})
        if self._path is not None:
            add_row(self._path, self.rows[-1])


def rows_of(path: Path) -> list[Row]:
    """Whole rows of a file of JSON lines; none where there is no file."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [row for row in map(_parsed, text.splitlines()) if row is not None]


def add_row(path: Path, row: Row) -> None:
    """Append a row, on a line of its own also after one that was cut short."""
    text = json.dumps(row, default=int)  # NumPy's integers
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{text}\n" if ends_whole(path) else f"\n{text}\n")


def _parsed(line: str) -> Row | None:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
