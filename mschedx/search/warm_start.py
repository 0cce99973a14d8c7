"""What a database already knows about a task."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from mschedx.cost.adapter import latency_of

from .history import History
from .points import Points, SketchSet

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
    points, latencies, unreadable = [], [], 0
    for record in _records(database, mod, target):
        point = _point_of(record.trace, space)
        if point is not None:
            points.append(point)
            latencies.append(latency_of(record.run_secs))
        try:
            programs.add(program_hash(record.as_measure_candidate().sch.mod))
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            # A record of another TVM version, or one whose intrinsics are not registered here.
            unreadable += 1
            logger.debug("a record does not replay: %s", error)
    if points:
        history.add(Points.concatenate(points), np.array(latencies))
    if unreadable:
        logger.warning("%d records of this workload do not replay and are left alone", unreadable)
    if programs:
        logger.info("%d programs measured before, %d in this space", len(programs), len(history))
    return history, programs


def _records(database: Any, mod: Any, target: Any) -> list[Any]:
    import tvm_ffi

    workload = database.commit_workload(mod)
    return [
        record
        for record in database.get_all_tuning_records()
        if record.workload.same_as(workload)
        and (record.target is None or tvm_ffi.structural_equal(record.target, target))
    ]


def _point_of(trace: Any, space: SketchSet) -> Points | None:
    for s, sketch in enumerate(space.sketches):
        config = sketch.config_of(trace)
        if config is not None and sketch.is_valid(np.asarray([config]))[0]:
            return space.lift(s, np.asarray([config], dtype=np.int64))
    return None
