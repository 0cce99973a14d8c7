"""What a work_dir holds, read once: the lines that can be used, and what was left out.

Records name their workload, and the journal its records, by line number. Leaving a line out moves
those behind it up, so all numbers are given anew here, in one place: `read_contents` is what
tuning, reports and replays all read, and what :func:`mschedx.record.work_dir.open_work_dir`
writes back where anything was left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mschedx.latency import latency_of

from .formats import TVMReader, entry_fault, record_fault, workload_fault
from .lines import Line, Reader, ends_whole

WORKLOADS = "database_workload.json"
RECORDS = "database_tuning_record.json"
TRIALS = "mschedx_trials.jsonl"


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
    workloads = _usable(
        reader.lines(path / WORKLOADS),
        WORKLOADS,
        left_out,
        lambda c: workload_fault(c) or (tvm and tvm.workload(c)),
    )
    place = {line.number: i for i, line in enumerate(workloads)}
    last = max(place, default=-1)

    def fault_of_record(content: Any) -> str | None:
        why = record_fault(content, last + 1)
        if why is None and content[0] not in place:
            why = f"its workload, line {content[0] + 1} of {WORKLOADS}, is broken"
        return why or (tvm and tvm.record(content, workloads[place[content[0]]].content))

    records = _usable(reader.lines(path / RECORDS), RECORDS, left_out, fault_of_record)
    kept = [(line, _with_workload(line.content, place)) for line in records]
    record_place = {line.number: i for i, line in enumerate(records)}
    entries = _usable(reader.lines(path / TRIALS), TRIALS, left_out, entry_fault)
    moved = [_renumbered(line.content, place, record_place) for line in entries]
    agreeing = _agreeing(moved, [record for _, record in kept])
    files: dict[str, list[tuple[Line, Any]]] = {
        WORKLOADS: [(line, line.content) for line in workloads],
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
) -> list[Line]:
    """Keep the lines without fault; the others are noted in `left_out`."""
    kept, odd = [], []
    for line in lines:
        why = "not whole JSON" if line.content is None else fault(line.content)
        if why is None:
            kept.append(line)
        else:
            odd.append(f"line {line.number + 1}: {why}")
    if odd:
        left_out[name] = odd
    return kept


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
    return {**entry, **moved} if moved else entry


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
