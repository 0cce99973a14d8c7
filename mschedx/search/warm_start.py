"""What a database already knows about a task."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mschedx.latency import latency_of
from mschedx.record.programs import recorded_trials
from mschedx.record.schedules import DOES_NOT_REPLAY
from mschedx.record.work_dir import target_json
from mschedx.space.resolver import Resolved

from .history import History
from .notes import tell
from .points import FloatArray, IntArray, Points, SketchSet

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.search")


@dataclass(frozen=True, slots=True)
class _Known:
    """What records tell.

    Attributes
    ----------
    points : Points [n]
    latency_s : float64 array [n]
    programs : set of int
        Structural hashes of all programs.
    unreadable : int
        Records that do not replay.
    """

    points: Points
    latency_s: FloatArray
    programs: set[int]
    unreadable: int = 0


def recall(
    database: Any, mod: Any, target: Any, space: SketchSet, program_hash: Callable[[Any], int]
) -> tuple[History, set[int]]:
    """Read earlier trials of one workload on one target, and open the sketches that they are of.

    Parameters
    ----------
    database : ms.Database or None
    mod : tvm.IRModule
    target : tvm.target.Target
        Records of other targets are another machine's and left alone; TVM's own queries would
        return them.
    space : SketchSet
    program_hash : callable
        Structural hash of a module.

    Returns
    -------
    history : History
        The trials whose trace is a valid config of one of the sketches; failed ones carry ``inf``.
    programs : set of int
        Structural hashes of all measured programs, those of other design spaces too. A record
        that does not replay counts where the files of a work_dir tell its program.
    """
    history = History.of(space)
    programs: set[int] = set()
    if database is None or not database.has_workload(mod):
        return history, programs
    found = _from_files(database, mod, target, space)
    if found is None:
        found = _from_tvm(database, mod, target, space, program_hash)
    history.add(found.points, found.latency_s)
    programs |= found.programs
    if found.unreadable:
        text = "task %s: %d records do not replay and are left alone"
        tell(logging.WARNING, text, space.task.name, found.unreadable)
    if programs:
        logger.info("%d programs measured before, %d in this space", len(programs), len(history))
    return history, programs


def _from_files(database: Any, mod: Any, target: Any, space: SketchSet) -> _Known | None:
    """What the files of a work_dir tell without TVM; None where they do not tell all."""
    trials = recorded_trials(database, mod)
    if trials is None:
        return None
    wanted = target_json(target)
    trials = [one for one in trials if target_json(json.dumps(one.content[2])) == wanted]
    programs = [program for one in trials if (program := one.program) is not None]
    if len(programs) < len(trials):
        return None
    resolved = space.resolver.resolve_records([one.content[0] for one in trials])
    points, positions = _points_of(resolved, space)
    seconds = [latency_of(trials[i].content[1]) for i in positions]
    return _Known(points, np.array(seconds), set(programs))


def _from_tvm(
    database: Any, mod: Any, target: Any, space: SketchSet, program_hash: Callable[[Any], int]
) -> _Known:
    """What any database of TVM tells; records are replayed for their programs."""
    records = _records(database, mod, target)
    resolved = space.resolver.resolve([record.trace for record in records])
    points, positions = _points_of(resolved, space)
    seconds = [latency_of(records[i].run_secs) for i in positions]
    known = [_program(record, program_hash) for record in records]
    programs = {program for program in known if program is not None}
    return _Known(points, np.array(seconds), programs, known.count(None))


def _program(record: Any, program_hash: Callable[[Any], int]) -> int | None:
    """Hash a record's program; None where it does not replay here."""
    try:
        return program_hash(record.as_measure_candidate().sch.mod)
    except DOES_NOT_REPLAY as error:
        logger.debug("a record does not replay: %s", error)
        return None


def _records(database: Any, mod: Any, target: Any) -> list[Any]:
    import tvm_ffi

    workload = database.commit_workload(mod)
    return [
        record
        for record in database.get_all_tuning_records()
        if record.workload.same_as(workload)
        and (record.target is None or tvm_ffi.structural_equal(record.target, target))
    ]


def _points_of(resolved: Resolved, space: SketchSet) -> tuple[Points, IntArray]:
    """The valid points [m] among what traces are, and the position of each; in their order.

    Opens the sketches that the traces are of.
    """
    positions, parts = [np.empty(0, dtype=np.int64)], [space.empty()]
    for s in np.unique(resolved.sketch[resolved.sketch >= 0]):
        of_sketch, configs = resolved.of(int(s))
        space.ensure_open(space.of_one_key(int(s)))
        positions.append(of_sketch)
        parts.append(space.place(int(s), configs))
    where, points = np.concatenate(positions), Points.concatenate(parts)
    order = np.argsort(where)
    order = order[space.is_valid(points.take(order))]
    return points.take(order), where[order]
