"""TVM's database of a work_dir, to append to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tvm.s_tir import meta_schedule as ms

from .contents import RECORDS

if TYPE_CHECKING:
    from .work_dir import WorkDir


@contextmanager
def open_database(work_dir: WorkDir, *, read: bool) -> Iterator[ms.database.JSONDatabase]:
    """Open the database of a work_dir for new records.

    TVM loads all records when it opens a database, 2 ms each, and opens their file anew for each
    that it appends. Where nobody asks the database for records it is opened on an empty file
    in place of theirs, and theirs is put there afterwards.

    Parameters
    ----------
    read : bool
        Whether the database must know the records that are there, as strategies of TVM's own ask
        for; those of mschedx read the files. Otherwise its length is that of the new ones.

    Yields
    ------
    ms.database.JSONDatabase
        Usable until the context ends. Whether records arrive is for
        :class:`~mschedx.record.rounds.Appended` to see.
    """
    if read:
        yield ms.database.JSONDatabase(work_dir=str(work_dir.path))
        return
    records = work_dir.records.resolve()
    records.touch()  # as TVM does
    with tempfile.TemporaryDirectory(prefix="mschedx-") as folder:
        link = Path(folder) / RECORDS
        link.touch()
        database = ms.database.JSONDatabase(str(work_dir.workloads), str(link))
        link.unlink()
        link.symlink_to(records)
        yield database
