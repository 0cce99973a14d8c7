"""Cores and their hardware threads, as Linux numbers them."""

from __future__ import annotations

import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")


def allowed_cores() -> int | None:
    """Cores of the hardware threads that this process may run on; None where nothing tells it.

    A process may be kept to both threads of a few cores, of which the machine's number of cores
    says nothing.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    try:
        siblings = {
            (_CPUS / f"cpu{thread}" / "topology" / "thread_siblings_list").read_text()
            for thread in os.sched_getaffinity(0)
        }
    except OSError:
        return None
    return len(siblings)
