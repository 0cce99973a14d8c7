"""Files of rows that a benchmark goes on with: one call's rows must not stand for another's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def options_of(arguments: Any, *names: str) -> Row:
    """The options that decide what a row says, as every row is to keep them (``"options"``)."""
    return {name: getattr(arguments, name) for name in names}


def resumed(path: Path | None, options: Row) -> list[Row]:
    """Rows of a file that is gone on with; none where there is none.

    Ends the program if rows were made with other options. Rows that do not say with which are taken
    as they are.
    """
    if path is None or not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        had = row.get("options", options)
        if had != options:
            said = ", ".join(f"{name} {value}" for name, value in had.items())
            sys.exit(f"{path} has rows made with other options ({said}); take these, or a new file")
    return rows
