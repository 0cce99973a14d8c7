"""What the journal knows of the other files, so that a line that was spoilt is noticed.

A byte may change in a line that stays whole JSON: a tile of 8 that becomes 9, a latency with other
digits. And a workload that is gone takes all its records along, since records name it by a number.
So the journal keeps, once a workload, the workload itself, and for every record that TVM has
written a digest. Both kinds of entries carry a check of their own, for the journal may be spoilt as
well::

    {"kind": "workload", "workload": 0, "content": [hash, module], "check": 17}
    {"kind": "written", "workload": 0, "record": 3, "digest": 5, "seconds": [1e-3], "check": 23}
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

CHECKED = ("workload", "written")
"""Kinds of entries that carry a check."""


def workload_entry(number: int, content: Sequence[str]) -> dict[str, Any]:
    """Entry for a workload, ``[hash, module]``."""
    return checked({"kind": "workload", "workload": number, "content": [*map(str, content)]})


def written_entry(record: int, content: Sequence[Any]) -> dict[str, Any]:
    """Entry for a record as it was written, ``[workload, [trace, seconds, target, arguments]]``."""
    workload, (_, seconds, *_) = content
    return checked(
        {
            "kind": "written",
            "workload": workload,
            "record": record,
            "digest": digest(content),
            "seconds": seconds,
        }
    )


def checked(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with the check of what it says."""
    said = {key: value for key, value in entry.items() if key not in ("check", "time")}
    return {**said, "check": _crc(said)}


def holds(entry: Mapping[str, Any]) -> bool:
    """Whether an entry says what it said when it was written."""
    return checked(entry)["check"] == entry.get("check")


def digest(content: Sequence[Any]) -> int:
    """Digest of a record without its workload's number and its seconds."""
    trace, _, target, arguments = content[1]
    return _crc([trace, target, arguments])


def is_written(entry: Mapping[str, Any], content: Sequence[Any]) -> bool:
    """Whether a record is the one that an entry is about."""
    same = entry["workload"] == content[0] and entry["seconds"] == content[1][1]
    return same and entry["digest"] == digest(content)


def is_spoilt(entry: Mapping[str, Any], content: Sequence[Any]) -> bool:
    """Whether a record in the place of an entry's is that record, changed in one part.

    One that agrees in nothing is another record that somebody put there.
    """
    agree = (entry["digest"] == digest(content), entry["seconds"] == content[1][1])
    return any(agree) and not is_written(entry, content)


def _crc(value: Any) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())
