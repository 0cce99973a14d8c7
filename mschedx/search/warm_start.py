"""What a database already knows about a task."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from mschedx.latency import latency_of
from mschedx.record.programs import recorded_programs

from .history import History
from .points import IntArray, Points, SketchSet

logger = logging.getLogger("tvm.s_tir.meta_schedule.mschedx.search")


def recall(
    database: Any, mod: Any, target: Any, space: SketchSet, program_hash: Callable[[Any], int]
) -> tuple[History, set[int]]:
    """Read earlier trials of one workload on one target.

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
        The trials whose trace is a config of one of the sketches; failed ones carry ``inf``.
    programs : set of int
        Structural hashes of all measured programs, those of other design spaces too.
    """
    history = History.of(space)
    programs: set[int] = set()
    if database is None or not database.has_workload(mod):
        return history, programs
    records = _records(database, mod, target)
    points, positions = _points_of([record.trace for record in records], space)
    history.add(points, np.array([latency_of(records[i].run_secs) for i in positions]))
    unreadable, recorded = 0, recorded_programs(database, mod)
    if recorded is None:
        known = [_program(record, program_hash) for record in records]
        recorded = {program for program in known if program is not None}
        unreadable = known.count(None)
    programs |= recorded
    if unreadable:
        logger.warning("%d records of this workload do not replay and are left alone", unreadable)
    if programs:
        logger.info("%d programs measured before, %d in this space", len(programs), len(history))
    return history, programs


def _program(record: Any, program_hash: Callable[[Any], int]) -> int | None:
    """Hash a record's program; None where it does not replay here."""
    try:
        return program_hash(record.as_measure_candidate().sch.mod)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        # A record of another TVM version, or one whose intrinsics are not registered here.
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


def _points_of(traces: list[Any], space: SketchSet) -> tuple[Points, IntArray]:
    """Read the valid points [m] among traces, and the position of each; in the traces' order."""
    resolved = space.resolver.resolve(traces)
    positions, parts = [np.empty(0, dtype=np.int64)], [space.empty()]
    for s in np.unique(resolved.sketch[resolved.sketch >= 0]):
        of_sketch, configs = resolved.of(int(s))
        positions.append(of_sketch)
        parts.append(space.lift(int(s), configs))
    where, points = np.concatenate(positions), Points.concatenate(parts)
    order = np.argsort(where)
    order = order[space.is_valid(points.take(order))]
    return points.take(order), where[order]
