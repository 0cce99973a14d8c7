"""Seconds for several networks, shared among those that are still to be tuned."""

from __future__ import annotations

import time
from typing import Any

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
        self._begun = False
        self._late: list[str] = []

    def options(self, name: str, left: int) -> dict[str, Any]:
        """Arguments of `tune_model` for the next of so many; where the time is up none is measured.

        The first always is.

        Parameters
        ----------
        name : str
            Of the network, for the notes.
        left : int
            Networks that are still to be tuned, this one included.
        """
        if self._end is None:
            return {}
        left_s, is_first = self._end - time.monotonic(), not self._begun
        self._begun = True
        if left_s > 0 or is_first:
            return {"timeout_s": max(0.001, left_s / left)}
        self._late.append(name)
        return {"trials_per_task": 0}

    @property
    def notes(self) -> list[str]:
        """What is to be noted of the networks that nothing was measured for."""
        if not self._late:
            return []
        return [
            f"time was up before {', '.join(self._late)}: nothing was measured for these; they "
            "have what the work_dir holds, or the best ranked configs"
        ]
