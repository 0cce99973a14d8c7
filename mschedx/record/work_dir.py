"""The folder of a tuning run: kept whole, owned by one writer, readable by stock TVM.

A work_dir holds what TVM writes (``database_workload.json``, ``database_tuning_record.json``,
``logs/``) and, beside it, ``mschedx_manifest.json`` (versions, target, seed: what made the
records), ``mschedx_trials.jsonl`` (see :mod:`mschedx.record.trials`) and a lock. Each record
line names its workload by line number, so a lost or broken line, a second writer, or records of
another TVM would silently attach measurements to the wrong program; :func:`open_work_dir` repairs
what can be repaired, keeps a copy of what it changes, and says what it did.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mschedx.version import VERSION

WORKLOADS = "database_workload.json"
RECORDS = "database_tuning_record.json"
MANIFEST = "mschedx_manifest.json"
TRIALS = "mschedx_trials.jsonl"
LOCK = "mschedx.lock"


class WorkDirError(ValueError):
    """A work_dir that cannot be used as asked."""


class WorkDirWarning(UserWarning):
    """Something in a work_dir was repaired or moved aside."""


@dataclass(frozen=True, slots=True)
class WorkDir:
    """A checked and locked folder; use it through :func:`open_work_dir`."""

    path: Path
    notes: tuple[str, ...] = field(default=())

    @property
    def workloads(self) -> Path:
        return self.path / WORKLOADS

    @property
    def records(self) -> Path:
        return self.path / RECORDS

    @property
    def trials(self) -> Path:
        return self.path / TRIALS

    def manifest(self) -> dict[str, Any]:
        """Read the manifest; empty when there is none."""
        return read_manifest(self.path)

    def write_manifest(self, **entries: Any) -> None:
        """Add entries to the manifest."""
        write_atomic(
            self.path / MANIFEST, json.dumps({**self.manifest(), **entries}, indent=1) + "\n"
        )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a work_dir; empty when there is none or it was cut short."""
    try:
        content = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def open_work_dir(path: str | os.PathLike[str], target: Any) -> Iterator[WorkDir]:
    """Create or check a work_dir for tuning on `target`, and keep other writers out.

    Raises
    ------
    WorkDirError
        If the folder cannot be written, another process is tuning into it, or it holds records
        for another target (look-ups in a database ignore the target).
    """
    directory = Path(path)
    _make(directory)
    with _locked(directory):
        manifest = read_manifest(directory)
        _check_target(directory, manifest, target)
        notes = [*_repair(directory), *_retire_foreign(directory, manifest)]
        for note in notes:
            warnings.warn(f"{directory}: {note}", WorkDirWarning, stacklevel=3)
        opened = WorkDir(directory, tuple(notes))
        opened.write_manifest(**versions(), target=target_json(target))
        yield opened


def versions() -> dict[str, str]:
    """Versions of what decides how records look."""
    from importlib.metadata import version

    return {
        "mschedx": VERSION,
        "tvm": version("apache-tvm"),
        "tvm_ffi": version("apache-tvm-ffi"),
    }


def target_json(target: Any) -> dict[str, Any]:
    """Give a target as plain JSON, without what varies between equal targets."""
    config = json.loads(str(target))
    return {k: v for k, v in config.items() if k not in ("tag", "keys")}


def write_atomic(path: Path, text: str) -> None:
    """Replace a file so that a reader or a crash sees the old or the new one, whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".mschedx_write_test.{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise WorkDirError(
            f"expected a work_dir that can be written, got {str(directory)!r}: "
            f"{error.strerror or error}; choose another folder or change its permissions"
        ) from error


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    handle = open(directory / LOCK, "a+")  # noqa: SIM115  (held as long as the lock)
    try:
        if not _try_lock(handle):
            handle.seek(0)
            owner = handle.read().strip() or "another process"
            raise WorkDirError(
                f"{directory} is being tuned into by {owner}; two writers would mix up the "
                "database: wait for it, stop it, or choose another work_dir"
            )
        handle.seek(0)
        handle.truncate()
        handle.write(f"process {os.getpid()}\n")
        handle.flush()
        yield
    finally:
        handle.close()


def _try_lock(handle: Any) -> bool:
    """Take an exclusive lock that ends with the process; False when another holds it."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        try:
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _check_target(directory: Path, manifest: dict[str, Any], target: Any) -> None:
    before = manifest.get("target")
    if before is not None and before != target_json(target):
        raise WorkDirError(
            f"{directory} holds records for {json.dumps(before)}, and this run is for "
            f"{json.dumps(target_json(target))}; look-ups ignore the target, so use one work_dir "
            "for each"
        )


def _repair(directory: Path) -> list[str]:
    """Drop lines that are not whole JSON, and records whose workload is not there."""
    notes = []
    workloads = read_lines(directory / WORKLOADS)
    bad = [line.number for line in workloads if line.content is None]
    if bad:
        kept = [line.text for line in workloads if line.content is not None]
        notes.append(_rewrite(directory / WORKLOADS, kept, len(bad)))

    # A record names its workload by line number. A line lost from the end takes only its own
    # records along; one lost from the middle would shift all the following, so those go too.
    sound = min(bad, default=len(workloads))
    records = read_lines(directory / RECORDS)
    kept_records = [line for line in records if _names_workload(line.content, sound)]
    if len(kept_records) < len(records):
        lost = len(records) - len(kept_records)
        notes.append(_rewrite(directory / RECORDS, [r.text for r in kept_records], lost))

    trials = read_lines(directory / TRIALS)
    places = {record.number: place for place, record in enumerate(kept_records)}
    renumbered = [_renumbered(line, places) for line in trials if line.content is not None]
    if len(renumbered) < len(trials):
        lost = len(trials) - len(renumbered)
        notes.append(_rewrite(directory / TRIALS, renumbered, lost))
    elif [line.text for line in trials] != renumbered:
        _write_lines(directory / TRIALS, renumbered)
    return notes


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a JSON-lines file: its place, text, and content (None: not whole JSON)."""

    number: int
    text: str
    content: Any


def read_lines(path: Path) -> list[Line]:
    """Read a JSON-lines file, broken lines included; empty when there is no file."""
    if not path.exists():
        return []
    lines: list[Line] = []
    for text in path.read_text(errors="replace").splitlines():
        if text.strip():
            lines.append(Line(len(lines), text, _parsed(text)))
    return lines


def append_line(path: Path, content: Any) -> None:
    """Add a line to a JSON-lines file, on a line of its own also after one that was cut short."""
    with path.open("a+b") as file:
        whole = file.tell() == 0
        if not whole:
            file.seek(-1, os.SEEK_END)
            whole = file.read(1) == b"\n"
        file.write(("" if whole else "\n").encode() + json.dumps(content).encode() + b"\n")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _names_workload(record: Any, workloads: int) -> bool:
    whole = isinstance(record, list) and len(record) == 2 and isinstance(record[0], int)
    return whole and 0 <= record[0] < workloads


def _renumbered(line: Line, places: dict[int, int]) -> str:
    """Point a trial at the new place of its record."""
    record = line.content.get("record") if isinstance(line.content, dict) else None
    if record is None or places.get(record) == record:
        return line.text
    return json.dumps({**line.content, "record": places.get(record)})


def _rewrite(path: Path, texts: list[str], lost: int) -> str:
    backup = _free_name(path, ".bak")
    shutil.copy2(path, backup)
    _write_lines(path, texts)
    return f"{path.name}: dropped {lost} broken line(s), kept a copy as {backup.name}"


def _write_lines(path: Path, texts: list[str]) -> None:
    write_atomic(path, "".join(text + "\n" for text in texts))


def _free_name(path: Path, suffix: str) -> Path:
    candidate = path.with_name(path.name + suffix)
    number = 1
    while candidate.exists():
        candidate = path.with_name(f"{path.name}{suffix}{number}")
        number += 1
    return candidate


def _retire_foreign(directory: Path, manifest: dict[str, Any]) -> list[str]:
    """Move a database aside that this TVM cannot read."""
    contents = [line.content for line in read_lines(directory / WORKLOADS)]
    reason = next((why for why in map(_unreadable, contents) if why), None)
    if reason is None:
        return []
    was, now = manifest.get("tvm", "another version"), versions()["tvm"]
    stamp = time.strftime(".unreadable-%Y%m%d-%H%M%S")
    moved = []
    for name in (WORKLOADS, RECORDS, TRIALS):
        if (directory / name).exists():
            place = _free_name(directory / name, stamp)
            os.replace(directory / name, place)
            moved.append(place.name)
    return [
        f"the database was written by TVM {was} and does not load in {now} ({reason[:200]}); "
        f"moved aside as {', '.join(moved)}, tuning starts afresh. To use the old records, "
        "install the TVM that wrote them"
    ]


def _unreadable(workload: Any) -> str | None:
    """Say why this TVM cannot load a workload; None if it can."""
    from tvm.s_tir.meta_schedule.database import Workload

    try:
        Workload.from_json(workload)
    except Exception as error:  # the parser raises whatever the old node types make it raise
        return (str(error).strip() or repr(error)).splitlines()[-1]
    return None
