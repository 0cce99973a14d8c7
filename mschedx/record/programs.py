"""Which programs a work_dir has measured, without making any of them again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm.s_tir import meta_schedule as ms

from .contents import RECORDS
from .trials import run_of, workload_number
from .work_dir import contents_of


def program_hash(mod: Any) -> int:
    """Structural hash of a scheduled module, the same in every process."""
    import tvm_ffi

    return int(tvm_ffi.structural_hash(mod))


@dataclass(frozen=True, slots=True)
class RecordedTrial:
    """A record of one function, as its file keeps it.

    Attributes
    ----------
    content : list
        ``[trace, seconds, target, arguments]``.
    program : int or None
        Hash of the scheduled module; None where the journal has none.
    """

    content: list[Any]
    program: int | None


def recorded_trials(database: Any, mod: Any) -> list[RecordedTrial] | None:
    """Read the records of one function from a database's own files.

    As objects of TVM a record takes 2 ms to compare and 2 to 20 ms to replay.

    Parameters
    ----------
    database : ms.Database
    mod : tvm.IRModule
        The function.

    Returns
    -------
    list of RecordedTrial, or None
        None for a database in memory, or in files of other names than a work_dir's.
    """
    if not isinstance(database, ms.database.JSONDatabase):
        return None
    path = Path(str(database.path_tuning_record)).resolve()
    if path.name != RECORDS:
        return None
    contents = contents_of(path.parent)
    number = workload_number(contents, ms.database.Workload(mod).as_json()[0])
    if number is None:
        return None
    run = run_of(path.parent, contents, number)
    programs = {trial.record: trial.program for trial in run.trials}
    return [RecordedTrial(content, programs.get(line)) for line, content in run.records.items()]
