"""What happened in a run, as plain records: the journal beside TVM's database, and its reader.

TVM's database keeps a trace and its run times, or 1e10 s for a failure, and nothing else. The
journal (``mschedx_trials.jsonl``) adds, one JSON object a line, why a trial failed and when:

- ``session``: one call of the tuner (seed, trials asked for, start time, what it searched and
  measured with, ``cold`` where weights came from memory);
- ``trial``: one measurement; ``record`` is its line in ``database_tuning_record.json``;
- ``disqualified``: a record whose output was wrong, and ``verified``: one whose output was right;
- ``end``: seconds of the session by stage, in TVM's names and those of `mschedx.run_stages`; of a
  network's session, those that the task had;
- ``workload`` and ``written``: what the other files hold (:mod:`.checks`).

Entries of trials are written just before TVM writes their records, so that no record is without
its entry when a process is killed. Reading needs no TVM, and works on a folder of stock TVM's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from mschedx.latency import latency_of

from .checks import written_entry
from .contents import RECORDS, TRIALS, Contents, read_contents
from .lines import append_lines
from .work_dir import read_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One measurement.

    Attributes
    ----------
    index : int
        Place among the trials of its workload, from 0.
    workload : int
        Line of the workload in ``database_workload.json``.
    record : int
        Line in ``database_tuning_record.json``, from 0.
    round : int
        Batch of measurements within the session, from 0; -1 when not known.
    latency_s : float | None
        :func:`mschedx.latency.latency_of` the measured seconds, > 0; None for a failure.
    reason, error : str | None
        Category (:data:`mschedx.measure.failures.CATEGORIES`, or "mismatch") and message.
    elapsed_s : float | None
        Seconds of tuning, earlier sessions included, when its round had been measured.
    predicted : float | None
        Score of the cost model before measuring, higher is better; None when not logged.
    unscheduled : bool
        Whether it is the function as it is, since nothing could be searched.
    program : int | None
        Structural hash of the scheduled module; None when not logged.
    session : int
        Call of the tuner, from 0.
    task : str
        Name of the task that it was measured for.
    """

    index: int
    workload: int = 0
    record: int
    round: int = -1
    latency_s: float | None = None
    reason: str | None = None
    error: str | None = None
    elapsed_s: float | None = None
    predicted: float | None = None
    unscheduled: bool = False
    program: int | None = None
    session: int = 0
    task: str = "main"


@dataclass(frozen=True, slots=True)
class Run:
    """All that a work_dir tells about the trials of one workload.

    Attributes
    ----------
    verified : frozenset[int]
        Records whose output was compared and found right.
    workload : int
        Line in ``database_workload.json``.
    module : list | None
        That line, as ``ms.database.Workload.from_json`` takes it; None if there is none.
    records : Mapping[int, list]
        ``[trace, seconds, target, arguments]`` by the number that :attr:`Trial.record` gives.
    """

    path: Path
    manifest: dict[str, Any]
    trials: tuple[Trial, ...]
    stages: dict[str, float]
    sessions: tuple[dict[str, Any], ...]
    verified: frozenset[int]
    workload: int
    module: list[Any] | None = None
    records: Mapping[int, list[Any]] = field(default_factory=dict)

    @property
    def best(self) -> Trial | None:
        """The fastest trial that ran and was not disqualified."""
        done = [t for t in self.trials if t.latency_s is not None]
        return min(done, key=lambda t: t.latency_s or math.inf, default=None)

    def failures(self) -> dict[str, int]:
        """Count failed trials by reason, most frequent first."""
        return count_failures(self.trials)

    def session_of(self, trial: Trial) -> dict[str, Any]:
        """What the journal says of the session of a trial; empty where it says nothing."""
        there = 0 <= trial.session < len(self.sessions)
        return self.sessions[trial.session] if there else {}


def count_failures(trials: Sequence[Trial]) -> dict[str, int]:
    """Count failed trials by reason, most frequent first."""
    counts: dict[str, int] = {}
    for trial in trials:
        if trial.reason is not None:
            counts[trial.reason] = counts.get(trial.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def best_so_far(trials: Sequence[Trial]) -> list[float]:
    """Running minimum of the latencies, seconds; inf until one has run."""
    best, curve = math.inf, []
    for trial in trials:
        best = min(best, trial.latency_s if trial.latency_s is not None else math.inf)
        curve.append(best)
    return curve


class Journal:
    """Append-only writer of a work_dir's journal."""

    def __init__(self, path: Path) -> None:
        self._path = path / TRIALS

    def append(self, *entries: dict[str, Any]) -> None:
        """Write entries at once, so that a killed process leaves whole lines but the last."""
        append_lines(self._path, entries)

    def session(
        self,
        workload: int,
        *,
        seed: int,
        trials: int,
        parts: Mapping[str, str | None],
        cold: bool = False,
    ) -> None:
        """Write that a call of the tuner begins: for what workload, and what it was asked for.

        ``cold`` says that its trials were drafted and measured with weights out of the caches.
        """
        self.append(
            {
                "kind": "session",
                "workload": workload,
                "time": time.time(),
                "seed": seed,
                "trials": trials,
                "parts": dict(parts),
                **({"cold": True} if cold else {}),
            }
        )

    def end(self, workload: int, stages: Mapping[str, float]) -> None:
        """Write what a session took of a workload, seconds by stage."""
        self.append({"kind": "end", "workload": workload, "stages": dict(stages)})

    def trials(self, trials: Sequence[Trial]) -> None:
        """Write trials."""
        self.append(*({"kind": "trial", "time": time.time(), **asdict(t)} for t in trials))

    def written(self, first: int, contents: Sequence[Any]) -> None:
        """Write digests of the records that TVM has written, the first one's number given."""
        self.append(*(written_entry(number, one) for number, one in enumerate(contents, first)))


def read_run(path: str | Path, workload: int | None = None) -> Run:
    """Read the trials of one workload.

    Parameters
    ----------
    path : str | Path
        A work_dir of ours or of stock TVM.
    workload : int, optional
        Line in ``database_workload.json``; the one with most records when None.

    Raises
    ------
    FileNotFoundError
        If there is no database in the folder.
    ValueError
        If only other workloads have records.
    """
    directory = Path(path)
    if not (directory / RECORDS).exists() and not (directory / TRIALS).exists():
        raise FileNotFoundError(
            f"expected a work_dir with {RECORDS} (what a tuning run writes), got {str(directory)!r}"
        )
    contents = read_contents(directory)
    used = sorted({record[0] for record in contents.records})
    if workload is not None and used and workload not in used:
        raise ValueError(
            f"{directory}: expected the number of a workload with trials "
            f"({', '.join(map(str, used))}), got {workload}"
        )
    return run_of(directory, contents, workload)


def run_of(directory: Path, contents: Contents, workload: int | None = None) -> Run:
    """Say what the contents of a work_dir tell about one workload, as `read_run` does."""
    used: list[int] = [record[0] for record in contents.records] or [0]
    workload = max(set(used), key=used.count) if workload is None else workload
    lines = [entry for entry in contents.journal if entry.get("workload", 0) == workload]

    def of_kind(kind: str) -> list[dict[str, Any]]:
        return [line for line in lines if line["kind"] == kind]

    known = {line["record"]: _trial(line) for line in of_kind("trial")}
    failed = {line["record"]: line.get("error") for line in of_kind("disqualified")}
    records = {n: record[1] for n, record in enumerate(contents.records) if record[0] == workload}
    trials: list[Trial] = []
    for number, record in records.items():
        base = known.get(number) or Trial(index=0, workload=workload, record=number)
        trial = replace(_joined(base, record), index=len(trials))
        if number in failed:
            trial = replace(trial, latency_s=None, reason="mismatch", error=failed[number])
        trials.append(trial)
    stages: dict[str, float] = {}
    for line in of_kind("end"):
        for stage, seconds in line["stages"].items():
            stages[stage] = stages.get(stage, 0.0) + seconds
    there = 0 <= workload < len(contents.workloads)
    return Run(
        path=directory,
        manifest=read_manifest(directory),
        trials=tuple(trials),
        stages=stages,
        sessions=tuple(of_kind("session")),
        verified=frozenset(line["record"] for line in of_kind("verified")),
        workload=workload,
        module=contents.workloads[workload] if there else None,
        records=records,
    )


def workload_number(contents: Contents, structural_hash: str) -> int | None:
    """Find the workload with this hash (as TVM writes it); None if it is new.

    Lines have other hashes where they are of another equality (``module_equality``) or of a machine
    that hashes differently. TVM then takes what it makes of their modules, and so does this.
    """
    for number, content in enumerate(contents.workloads):
        if content[0] == structural_hash:
            return number
    for number, content in enumerate(contents.workloads):
        if _hashed_here(*content) == structural_hash:
            return number
    return None


@lru_cache(maxsize=2048)
def _hashed_here(stored: str, module: str) -> str | None:
    """Structural hash of a workload's line, of whatever hash it has; None if TVM cannot read it."""
    from tvm.s_tir.meta_schedule.database import Workload

    try:
        loaded = Workload.from_json([stored, module])
    except Exception:  # TVM raises whatever its parsers raise; who opens the folder is told of it
        return None
    return str(Workload(loaded.mod).as_json()[0])


def _trial(line: dict[str, Any]) -> Trial:
    names = {f.name for f in fields(Trial)}
    return Trial(**{k: v for k, v in line.items() if k in names})


def _joined(known: Trial, record: list[Any]) -> Trial:
    """Join a record with what the journal knows of it."""
    latency = latency_of(record[1])
    if math.isfinite(latency):
        return replace(known, latency_s=latency, reason=None, error=None)
    return replace(known, latency_s=None, reason=known.reason or "unknown")
