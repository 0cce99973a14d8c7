"""Linux control groups: how much of a machine's cores and memory a container may use."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def quota() -> float | None:
    """Cores' worth of time that control groups leave this process; None where nothing limits it.

    With more threads than that, all of them are stopped for a part of every period (a tenth of a
    second by default), which no timing survives.
    """
    limits = [_second_version(group) for group in _groups()]
    limits.append(_first_version(CGROUPS / "cpu"))
    known = [limit for limit in limits if limit is not None]
    return min(known, default=None)


def memory_bytes() -> int | None:
    """Memory that control groups leave this process; None where nothing limits it.

    Beyond it the kernel kills processes, without a word and not always those that asked for more.
    """
    files = [group / "memory.max" for group in _groups()]
    limits = [_number(file) for file in (*files, CGROUPS / "memory/memory.limit_in_bytes")]
    return min((limit for limit in limits if limit is not None), default=None)


def _number(file: Path) -> int | None:
    with suppress(OSError, ValueError):  # "max": no limit
        return int(file.read_text())
    return None


def _groups() -> list[Path]:
    """The control group of this process, and those around it."""
    try:
        lines = OWN.read_text().splitlines()
    except OSError:
        lines = []
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    place = CGROUPS / own.strip("/")
    return [one for one in (place, *place.parents) if one.is_relative_to(CGROUPS)]


def _second_version(group: Path) -> float | None:
    with suppress(OSError, ValueError):
        allowed, period = (group / "cpu.max").read_text().split()
        return None if allowed == "max" else int(allowed) / int(period)
    return None


def _first_version(group: Path) -> float | None:
    with suppress(OSError, ValueError):
        allowed = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
        return allowed / period if allowed > 0 else None  # -1: no limit
    return None
