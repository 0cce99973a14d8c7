"""What tables are printed with."""

from __future__ import annotations

import sys
from typing import Any


def table_console(columns: int, **options: Any) -> Any:
    """A console as wide as the terminal, or so many columns where output goes to a file.

    Rich ends the process, with status 1, where whoever read the output has gone. This one raises
    BrokenPipeError, as `print` does.

    Parameters
    ----------
    columns : int
    options
        Of ``rich.console.Console``.
    """
    from rich.console import Console

    class Printing(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Printing(width=None if sys.stdout.isatty() else columns, **options)
