"""Which programs a work_dir has measured, without making any of them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tvm.s_tir import meta_schedule as ms

from .contents import RECORDS, read_contents
from .trials import run_of, workload_number


def program_hash(mod: Any) -> int:
    """Structural hash of a scheduled module, the same in every process."""
    import tvm_ffi

    return int(tvm_ffi.structural_hash(mod))


def recorded_programs(database: Any, mod: Any) -> set[int] | None:
    """Give the hashes of all programs of one function that a database holds records of.

    A record holds a trace, whose replay takes 2 to 20 ms. The journal beside it holds the hash.

    Parameters
    ----------
    database : ms.Database
    mod : tvm.IRModule
        The function.

    Returns
    -------
    set of int, or None
        None where a record has no hash beside it: a database in memory, or records of stock TVM.
    """
    if not isinstance(database, ms.database.JSONDatabase):
        return None
    path = Path(str(database.path_tuning_record))
    if path.name != RECORDS:
        return None
    contents = read_contents(path.parent)
    number = workload_number(contents, ms.database.Workload(mod).as_json()[0])
    if number is None:
        return None
    found = {trial.program for trial in run_of(path.parent, contents, number).trials}
    return None if None in found else {program for program in found if program is not None}
