"""Exit statuses of the command, beside 0."""

from __future__ import annotations

NOTHING_FOUND = 1
"""Nothing better than the function as it is was found; of many runs or trials, none ran."""

BAD_REQUEST = 2
"""What was asked for cannot be done; the message says what to ask for."""

MACHINE = 3
"""A full disk, a dead helper process, a missing linker, an output that cannot be written."""

WRONG = 4
"""A network's output is not the framework's."""

INTERRUPTED = 130
"""Ctrl-C."""
