"""What a work_dir holds, read once: the lines that can be used, and what was left out.

Records name their workload, and the journal its records, by line number. Leaving a line out moves
those behind it up, and lines may have been moved about, so all numbers are given anew here, from
what the journal knows of the other files (:mod:`mschedx.record.checks`), in one place:
`read_contents` is what tuning, reports and replays all read, and what
:func:`mschedx.record.work_dir.open_work_dir` writes back where anything was left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mschedx.latency import latency_of

from .checks import checked, is_spoilt, is_written
from .formats import TVMReader, entry_fault, missing_workload, record_fault, workload_fault
from .lines import Line, Reader, ends_whole

WORKLOADS = "database_workload.json"
RECORDS = "database_tuning_record.json"
TRIALS = "mschedx_trials.jsonl"

_ANY_WORKLOAD = 1 << 62


@dataclass(frozen=True, slots=True)
class Contents:
    """The usable lines of a work_dir, numbered by their place.

    Attributes
    ----------
    workloads : list of [hash, module]
    records : list of [workload, [trace, seconds, target, arguments]]
    journal : list of dict
        Entries about records that are there, and entries about none.
    left_out : dict[str, list[str]]
        By file, each line that cannot be used: "line 3: not whole JSON".
    changed : dict[str, list[str]]
        By file, the texts it must get so that all numbers agree; files that may stay are not here.
    """

    workloads: list[list[Any]]
    records: list[list[Any]]
    journal: list[dict[str, Any]]
    left_out: dict[str, list[str]]
    changed: dict[str, list[str]]


def read_contents(
    path: Path, tvm: TVMReader | None = None, reader: Reader | None = None
) -> Contents:
    """Read a work_dir; a file that is not there is empty.

    Parameters
    ----------
    path : Path
    tvm : TVMReader, optional
        Leave out what this TVM cannot load, too.
    reader : Reader, optional
        One that has read the folder before and parses only what is new.
    """
    reader = reader or Reader()
    left_out: dict[str, list[str]] = {}
    entries = _usable(reader.lines(path / TRIALS), TRIALS, left_out, entry_fault)

    def fault_of_workload(content: Any) -> str | None:
        return workload_fault(content) or (tvm and tvm.workload(content))

    own = _usable(reader.lines(path / WORKLOADS), WORKLOADS, left_out, fault_of_workload)
    workloads, place = _placed_workloads(own, entries, fault_of_workload)
    last = max(place, default=-1)
    lines = reader.lines(path / RECORDS)
    known = _written(lines, entries)

    def fault_of_record(line: Line) -> str | None:
        content = line.content
        check = missing_workload if line.number in known.whole else record_fault
        why = check(content, last + 1) or known.fault(line)
        if why is None and content[0] not in place:
            why = f"its workload, line {content[0] + 1} of {WORKLOADS}, is broken"
        return why or (tvm and tvm.record(content, workloads[place[content[0]]][1]))

    records = _usable(lines, RECORDS, left_out, fault_of_record, whole_lines=True)
    kept = [(line, _with_workload(line.content, place)) for line in records]
    record_place = known.places(records)
    moved = [_renumbered(line.content, place, record_place) for line in entries]
    agreeing = _agreeing(moved, [record for _, record in kept])
    files: dict[str, list[tuple[Line, Any]]] = {
        WORKLOADS: workloads,
        RECORDS: kept,
        TRIALS: [(line, entry) for line, entry in zip(entries, agreeing) if entry is not None],
    }
    return Contents(
        workloads=[content for _, content in files[WORKLOADS]],
        records=[content for _, content in files[RECORDS]],
        journal=[content for _, content in files[TRIALS]],
        left_out=left_out,
        changed={
            name: [_text(line, content) for line, content in lines]
            for name, lines in files.items()
            if not _may_stay(path / name, lines)
        },
    )


def _usable(
    lines: Sequence[Line],
    name: str,
    left_out: dict[str, list[str]],
    fault: Callable[[Any], str | None],
    *,
    whole_lines: bool = False,
) -> list[Line]:
    """Keep the lines without fault; the others are noted in `left_out`."""
    kept, odd = [], []
    for line in lines:
        why = (
            "not whole JSON"
            if line.content is None
            else fault(line if whole_lines else line.content)
        )
        if why is None:
            kept.append(line)
        else:
            odd.append(f"line {line.number + 1}: {why}")
    if odd:
        left_out[name] = odd
    return kept


def _placed_workloads(
    lines: Sequence[Line], entries: Sequence[Line], fault: Callable[[Any], str | None]
) -> tuple[list[tuple[Line, Any]], dict[int, int]]:
    """The workloads, each once, and the place of each number that a record may name.

    A number means the workload that the journal has for it; one whose line is gone is put back.
    """
    kept: list[tuple[Line, Any]] = []
    place_of: dict[str, int] = {}
    own = {line.number: line for line in lines}
    for line in lines:
        if line.content[0] not in place_of:
            place_of[line.content[0]] = len(kept)
            kept.append((line, line.content))
    place = {number: place_of[line.content[0]] for number, line in own.items()}
    meant: dict[int, list[Any]] = {}
    for entry in (line.content for line in entries if line.content["kind"] == "workload"):
        meant.setdefault(entry["workload"], []).append(entry["content"])
    for number, contents in meant.items():
        here = own[number].content[0] if number in own else None
        content = next((c for c in contents if c[0] == here), contents[0])
        if content[0] not in place_of:
            if fault(content) is not None:
                continue
            place_of[content[0]] = len(kept)
            kept.append((Line(len(kept), json.dumps(content), None), content))
        place[number] = place_of[content[0]]
    return kept, place


@dataclass(frozen=True, slots=True)
class _Written:
    """Which line holds which record of the journal's.

    Attributes
    ----------
    entries : dict of int to dict
        By the record's number, what the journal says was written.
    lines : dict of int to int
        Of these, the line on which each is found.
    taken : frozenset of int
        Those lines.
    whole : frozenset of int
        The lines that hold a record of some workload.
    """

    entries: dict[int, dict[str, Any]]
    lines: dict[int, int]
    taken: frozenset[int]
    whole: frozenset[int]

    def fault(self, line: Line) -> str | None:
        """Say what is wrong with a line of the records' shape."""
        if line.number in self.taken:
            return None
        entry = self.entries.get(line.number)
        if entry is not None and line.number not in self.lines and is_spoilt(entry, line.content):
            return "not what was written there"
        for number, other in self.entries.items():
            if is_written(other, line.content):
                return f"a copy of line {self.lines[number] + 1}"
        return None

    def places(self, records: Sequence[Line]) -> dict[int, int]:
        """From the numbers that entries give to those that records get."""
        place = {line.number: i for i, line in enumerate(records)}
        found = {k: place[line] for k, line in self.lines.items() if line in place}
        rest = {k: i for k, i in place.items() if k not in self.entries and k not in self.taken}
        return {**found, **rest}


def _written(lines: Sequence[Line], entries: Sequence[Line]) -> _Written:
    """Find the records of the journal wherever they stand, in their own place first."""
    said = {e.content["record"]: e.content for e in entries if e.content["kind"] == "written"}
    whole = {
        line.number: line for line in lines if record_fault(line.content, _ANY_WORKLOAD) is None
    }
    found = {n: n for n, e in said.items() if n in whole and is_written(e, whole[n].content)}
    free = {n: line for n, line in whole.items() if n not in found}
    for number, entry in said.items():
        if number in found:
            continue
        at = next((n for n, line in free.items() if is_written(entry, line.content)), None)
        if at is not None:
            found[number] = at
            del free[at]
    return _Written(said, found, frozenset(found.values()), frozenset(whole))


def _text(line: Line, content: Any) -> str:
    return line.text if content is line.content else json.dumps(content)


def _may_stay(path: Path, lines: list[tuple[Line, Any]]) -> bool:
    """Whether a file is these lines already, each with its newline."""
    if any(content is not line.content for line, content in lines):
        return False
    if not path.exists():
        return True
    return ends_whole(path) and path.read_bytes().count(b"\n") == len(lines)


def _with_workload(content: list[Any], place: dict[int, int]) -> list[Any]:
    return content if place[content[0]] == content[0] else [place[content[0]], content[1]]


def _renumbered(
    entry: dict[str, Any], place: dict[int, int], record_place: dict[int, int]
) -> dict[str, Any] | None:
    """Point an entry at the new places of what it is about; None if that is gone."""
    moved = {}
    workload = entry.get("workload", 0)
    if workload not in place:
        return None
    if place[workload] != workload:
        moved["workload"] = place[workload]
    if "record" in entry:
        if entry["record"] not in record_place:
            return None
        if record_place[entry["record"]] != entry["record"]:
            moved["record"] = record_place[entry["record"]]
    if not moved:
        return entry
    return checked({**entry, **moved}) if "check" in entry else {**entry, **moved}


def _agreeing(
    entries: list[dict[str, Any] | None], records: list[list[Any]]
) -> list[dict[str, Any] | None]:
    """Leave out entries that are about another measurement than the record in that place.

    A journal is written just before its records. A kill in between leaves entries whose places
    the next records take; and lines that somebody else added move records away from theirs.
    """
    wrong = {e["record"] for e in entries if e is not None and e["kind"] == "disqualified"}
    latest = {e["record"]: i for i, e in enumerate(entries) if e is not None and _is_trial(e)}

    def agrees(position: int, entry: dict[str, Any]) -> bool:
        if not _is_trial(entry):
            return True
        if latest[entry["record"]] != position:
            return False
        record = records[entry["record"]]
        if record[0] != entry.get("workload", 0):
            return False
        found, noted = latency_of(record[1][1]), entry.get("latency_s")
        if noted is None:
            return entry.get("reason") is None or math.isinf(found)
        return entry["record"] in wrong or math.isclose(found, noted, rel_tol=1e-9)

    return [e if e is not None and agrees(i, e) else None for i, e in enumerate(entries)]


def _is_trial(entry: dict[str, Any]) -> bool:
    return entry["kind"] == "trial"
