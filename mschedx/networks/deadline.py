"""Seconds for several networks, shared among those that are still to be tuned."""

from __future__ import annotations

import time

from mschedx.inputs import check_seconds


class Deadline:
    """The end of everything.

    Parameters
    ----------
    timeout_s : float, optional
        Seconds from now; no end when None.

    Raises
    ------
    ValueError, TypeError
        For what is no positive number.
    """

    def __init__(self, timeout_s: float | None) -> None:
        check_seconds("timeout_s", timeout_s)
        self._end = None if timeout_s is None else time.monotonic() + timeout_s

    def share(self, left: int) -> float | None:
        """Seconds for the next of so many."""
        return None if self._end is None else max(0.001, (self._end - time.monotonic()) / left)
