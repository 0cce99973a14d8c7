"""A work_dir into which nothing is measured: also one that cannot be written, or is in use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from .contents import RECORDS, TRIALS, WORKLOADS
from .errors import WorkDirInUse, WorkDirNotWritable
from .work_dir import MANIFEST, WorkDir, open_work_dir


@contextmanager
def open_to_read(path: str | os.PathLike[str], target: Any) -> Iterator[WorkDir]:
    """Open a work_dir for its records alone.

    Where it can be written and nobody does, as :func:`open_work_dir`: what is found out about its
    records is kept in it. Otherwise a copy is opened that goes with the block, and the folder stays
    as it is; a note says so.

    Raises
    ------
    WorkDirError
        As :func:`open_work_dir` for a folder without records, and for those of another target or
        of tensor intrinsics that are not registered here.
    """
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_work_dir(path, target))
        except (WorkDirInUse, WorkDirNotWritable) as error:
            if not (Path(path) / RECORDS).exists():
                raise
            why = str(error).partition(";")[0]  # the rest says what to do to write
            note = f"the work_dir is read as it is: {why}"
            opened = stack.enter_context(_copy_of(Path(path), target, note))
        yield opened


@contextmanager
def _copy_of(directory: Path, target: Any, note: str) -> Iterator[WorkDir]:
    with tempfile.TemporaryDirectory(prefix="mschedx-") as folder:
        # Their order: whoever writes meanwhile writes what records speak of before them.
        for name in (RECORDS, WORKLOADS, TRIALS, MANIFEST):
            if (directory / name).exists():
                (Path(folder) / name).write_bytes(_whole_lines((directory / name).read_bytes()))
        with open_work_dir(folder, target) as opened:
            yield replace(opened, notes=(note, *opened.notes))


def _whole_lines(data: bytes) -> bytes:
    """Leave out a last line that is still being written."""
    return data[: data.rfind(b"\n") + 1]
