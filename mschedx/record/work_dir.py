"""The folder of a tuning run: kept whole, owned by one writer, readable by stock TVM.

A work_dir holds what TVM writes (``database_workload.json``, ``database_tuning_record.json``,
``logs/``) and, beside it, ``mschedx_manifest.json`` (versions, target, seed: what made the
records), ``mschedx_trials.jsonl`` (see :mod:`mschedx.record.trials`) and a lock. Each record
line names its workload by line number, so a lost or broken line, a second writer, or records of
another TVM would silently attach measurements to the wrong program; :func:`open_work_dir` sets
lines that cannot be used aside, gives the others their numbers anew
(:mod:`mschedx.record.contents`), keeps a copy of what it changes, and says what it did.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mschedx.files import write_atomic
from mschedx.user_warnings import warn_user
from mschedx.version import VERSION

from .contents import RECORDS, TRIALS, WORKLOADS, Contents, read_contents
from .errors import WorkDirError as WorkDirError
from .errors import WorkDirNotWritable
from .errors import WorkDirWarning as WorkDirWarning
from .formats import TVMReader, workload_fault
from .lines import Reader, parse, read_lines, write_lines
from .lock import locked

MANIFEST = "mschedx_manifest.json"

_OPEN: dict[Path, WorkDir] = {}
"""The folders that this process tunes into; each has one lock, so that there is one of each."""


@dataclass(frozen=True, slots=True)
class WorkDir:
    """A checked and locked folder; use it through :func:`open_work_dir`."""

    path: Path
    notes: tuple[str, ...]
    contents: Contents
    """As it was when it was opened, repaired."""
    reader: Reader = field(default_factory=Reader)
    """Parses what was added since."""

    def read(self) -> Contents:
        """Read the folder as it is now."""
        return read_contents(self.path, reader=self.reader)

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
        content = parse((path / MANIFEST).read_bytes())
    except OSError:
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def open_work_dir(path: str | os.PathLike[str], target: Any) -> Iterator[WorkDir]:
    """Create or check a work_dir for tuning on `target`, and keep other writers out.

    Raises
    ------
    WorkDirError
        If the folder cannot be written, another process is tuning into it, or it holds records
        for another target (look-ups in a database ignore the target) or of tensor intrinsics that
        are not registered here.
    """
    directory = Path(path)
    _make(directory)
    with locked(
        directory,
        "tuned into",
        "two writers would mix up the database: wait for it, stop it, or choose another work_dir",
    ):
        manifest = read_manifest(directory)
        tvm, reader = TVMReader(), Reader()
        contents = read_contents(directory, tvm, reader)
        _check_target(directory, contents, target)
        notes = _retire_foreign(directory, manifest, contents, tvm)
        if notes:
            contents = read_contents(directory)
        else:
            notes = _repair(directory, contents)
        for note in notes:
            warn_user(f"{directory}: {note}", WorkDirWarning)
        opened = WorkDir(directory, tuple(notes), contents, reader)
        opened.write_manifest(**versions(), target=target_json(target))
        place = directory.resolve()  # which is another one once the working directory changes
        _OPEN[place] = opened
        try:
            yield opened
        finally:
            del _OPEN[place]


def contents_of(path: Path) -> Contents:
    """Read a folder; of one that this process tunes into, only what was added since."""
    opened = _OPEN.get(path.resolve())
    return read_contents(path) if opened is None else opened.read()


def best_folder(path: Path, mod: Any) -> Path:
    """Folder for the winner of one function of a work_dir, the same in every process."""
    from tvm.s_tir.meta_schedule.database import Workload

    (name,) = (str(func.attrs["global_symbol"]) for func in mod.functions.values())
    structure = int(Workload(mod).as_json()[0]) & (1 << 64) - 1
    plain = re.sub(r"\W", "_", name)
    return path / "best" / f"{plain}-{structure:016x}"


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
    return _comparable(json.loads(str(target)))


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in ("tag", "keys")}


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise WorkDirNotWritable(
            f"expected a work_dir that can be written, got {str(directory)!r}: "
            f"{error.strerror or error}; choose another folder or change its permissions"
        ) from error


def _check_target(directory: Path, contents: Contents, target: Any) -> None:
    """Compare with the targets that the records name: a manifest may be lost, or say too much."""
    wanted = target_json(target)
    for described in {json.dumps(record[1][2]) for record in contents.records}:
        found = _comparable(json.loads(described))
        if found != wanted:
            raise WorkDirError(
                f"{directory} holds records for {json.dumps(found)}, and this run is for "
                f"{json.dumps(wanted)}; look-ups ignore the target, so use one work_dir for each"
            )


def _repair(directory: Path, contents: Contents) -> list[str]:
    """Write back what can be used, keeping a copy of each file from which a line is left out."""
    notes = []
    for name, texts in contents.changed.items():
        odd = contents.left_out.get(name)
        if odd:
            backup = _free_name(directory / name, ".bak")
            shutil.copy2(directory / name, backup)
            shown = "; ".join(odd[:3]) + ("; ..." if len(odd) > 3 else "")
            notes.append(
                f"{name}: set {len(odd)} broken line(s) aside, kept in a copy of the file, "
                f"{backup.name} ({shown})"
            )
        write_lines(directory / name, texts)
    return notes


def _free_name(path: Path, suffix: str) -> Path:
    candidate = path.with_name(path.name + suffix)
    number = 1
    while candidate.exists():
        candidate = path.with_name(f"{path.name}{suffix}{number}")
        number += 1
    return candidate


def _retire_foreign(
    directory: Path, manifest: dict[str, Any], contents: Contents, reader: TVMReader
) -> list[str]:
    """Move a database aside of which this TVM can read no workload."""
    if contents.workloads:
        return []
    lines = [line.content for line in read_lines(directory / WORKLOADS)]
    reasons = [reader.workload(c) for c in lines if workload_fault(c) is None]
    if not reasons:
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
        f"the database was written by TVM {was} and does not load in {now} ({reasons[0]}); "
        f"moved aside as {', '.join(moved)}, tuning starts afresh. To use the old records, "
        "install the TVM that wrote them"
    ]
