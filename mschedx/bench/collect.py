"""Measure configs of workloads, random and best ranked ones, and keep them as a data set."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mschedx import compat
from mschedx.cost.consensus import ConsensusModel
from mschedx.hardware import kernel_cores, lacking_here, notes_on_machine
from mschedx.hardware.peak import cpu_model
from mschedx.inputs import check_seed, require_device
from mschedx.latency import latency_s
from mschedx.ranges import require_count
from mschedx.ranking import NothingToRank, best_of, deviation_in
from mschedx.record.dataset import DatasetFile, DatasetTask, TaskTrials
from mschedx.record.work_dir import target_json, versions
from mschedx.search.growing import searchable
from mschedx.space.errors import NOT_SEARCHABLE, EmptySpace, InvalidSchedule, SparseSpace
from mschedx.workloads import Workload, find

if TYPE_CHECKING:
    from tvm.s_tir import Schedule
    from tvm.target import Target

    from mschedx.space.sketch import Sketch

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_BATCH = 16

_DRAWS = 32
"""Batches drawn, all of them known, after which a space is taken to be measured in full."""


def collect(
    workloads: Sequence[Workload],
    target: Target,
    path: str | Path,
    *,
    trials: int,
    ranked: int = 0,
    model: str | Path | None = None,
    space: str | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> DatasetFile:
    """Measure until the file has so many trials of every workload; what it has counts.

    Configs are drawn uniformly from the valid ones of every sketch, each sketch as often as any
    other, after those that a ranking puts first: random configs hardly ever are as good as what a
    model is asked to tell apart once it ranks. None is measured twice: a workload whose spaces have
    fewer configs gets fewer trials, and one without a space is left out.

    Parameters
    ----------
    workloads : sequence of Workload
    target : tvm.target.Target
    path : path
        Data set to add to.
    trials : int
        Of each workload, > 0.
    ranked : int
        How many of the best ranked configs are among them, >= 0, as far as ``trials`` reaches.
    model : str or path, optional
        Ranks beside PSA, as `mschedx.rank` takes it; PSA alone when None.
    space : str, optional
        mschedx's own when None; otherwise what `mschedx.space.sketches` takes.
    seed : int
    say : callable
        Told a line per workload.

    Raises
    ------
    ValueError
        For a GPU that is not here, a CPU with instructions that this one lacks, or workloads of
        which none has a space.
    """
    from mschedx import measure

    trials = require_count("trials", trials)
    ranked = require_count("ranked", ranked, least=0)
    check_seed(seed)
    mcpu = str(target.attrs.get("mcpu", "generic"))
    judge = None if model is None else ConsensusModel(model, mcpu=mcpu)
    _require_here(target)
    for note in notes_on_machine(target):
        say(f"note: {note}")
    file = DatasetFile(path)
    builder = measure.LocalBuilder()
    runner = measure.LocalRunner(cores=kernel_cores(target), initializer=undisturbed)
    notes: list[str] = []
    left_out: list[str] = []
    for workload in workloads:
        try:
            sketches = open_workload(workload, target, space)
        except NOT_SEARCHABLE as error:
            left_out.append(f"{workload.name}: {error}")
            say(f"{workload.name} is left out: {error}")
            continue
        known = file.declare(declared(workload, target, space, sketches))
        for note in file.notes[len(notes) :]:
            say(f"{path}: {note}")
        notes = list(file.notes)
        rng = np.random.default_rng([seed, len(known)])
        failed: set[tuple[int, bytes]] = set()  # no schedule comes of these
        first = _ranked_first(sketches, ranked, judge, rng, deviation_in(space))
        while len(known) < trials:
            wanted = min(_BATCH, trials - len(known))
            tried = _tried(known, failed)
            drawn = _next_of(first, tried, wanted) or _untried(tried, sketches, wanted, rng)
            if not drawn:
                say(f"{workload.name}: no config is left that was not measured")
                break
            for index, configs in drawn.items():
                made, seconds = _measured(sketches[index], configs, builder, runner)
                failed |= {(index, config.tobytes()) for config in configs[~made]}
                if made.any():
                    file.append(known.task.key, index, configs[made], seconds)
        ran = math.isfinite(known.best_s)
        best = f"best {known.best_s * 1e3:.4g} ms" if ran else "none of which ran"
        say(f"{workload.name}: {len(known)} trials, {best}")
    if left_out and len(left_out) == len(workloads):
        raise EmptySpace(f"none of the workloads can be measured: {'; '.join(left_out)}")
    return file


def undisturbed() -> None:
    """Run this process, and what it forks, before others of the machine, where that is allowed."""
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def open_workload(workload: Workload, target: Target, space: str | None) -> list[Sketch]:
    """Open the sketches whose configs a data set holds, in the order it counts them.

    Raises
    ------
    EmptySpace, InvalidSchedule, UnsupportedTrace
        When there is none.
    """
    import tvm

    from mschedx.space import sketches

    mod = tvm.IRModule({"main": workload.func()})
    return searchable(sketches(mod, target, space), _drawn_from)


def _drawn_from(sketch: Sketch) -> Sketch:
    narrowed = sketch.narrowed()
    narrowed.sample(1, np.random.default_rng(0))
    return narrowed


def declared(
    workload: Workload, target: Target, space: str | None, sketches: Sequence[Sketch]
) -> DatasetTask:
    """Describe a workload as a task of a data set of this machine."""
    from mschedx.space.task import Task

    task = Task.of(sketches[0].design.mod, target)
    return DatasetTask(
        f"{task.key}/{space or 'mschedx'}",
        (workload.op, find(workload.op).complete(tuple(workload.shape)), workload.dtype),
        target_json(target),
        space,
        this_machine(),
        tuple(sketch.names for sketch in sketches),
    )


def this_machine() -> dict[str, Any]:
    """What latencies of this process belong to: processor, cores, and versions."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cpu": cpu_model(),
        "cores": compat.available_cores(),
        **versions(),
    }


def _tried(known: TaskTrials, failed: set[tuple[int, bytes]]) -> set[tuple[int, bytes]]:
    """Sketch and config of all that need no more trials."""
    return failed | {
        (index, row.tobytes()) for index, rows in enumerate(known.configs) for row in rows
    }


def _require_here(target: Target) -> None:
    require_device(target)
    if missing := lacking_here(target):
        raise ValueError(
            f"{missing}: programs that use them would crash here, and the data set would say for "
            "good that they fail. Collect it on such a machine, or for the CPU that this one has"
        )


def _ranked_first(
    sketches: Sequence[Sketch],
    count: int,
    judge: ConsensusModel | None,
    rng: np.random.Generator,
    deviation: float,
) -> list[tuple[int, IntArray]]:
    """The best ranked, as sketch and config [D]; none where no config becomes a program."""
    if not count:
        return []
    try:
        found = best_of(sketches, count, judge, rng, deviation)
    except NothingToRank:
        return []
    index = {id(sketch): i for i, sketch in enumerate(sketches)}
    return [(index[id(one.sketch)], one.config) for one in found]


def _next_of(
    first: list[tuple[int, IntArray]], tried: set[tuple[int, bytes]], wanted: int
) -> dict[int, IntArray]:
    """Some of those [n, D] by sketch that were not tried; they are taken off the list."""
    left = [(i, config) for i, config in first if (i, config.tobytes()) not in tried]
    first[:] = left[wanted:]
    found: dict[int, list[IntArray]] = {}
    for i, config in left[:wanted]:
        found.setdefault(i, []).append(config)
    return {i: np.stack(configs) for i, configs in sorted(found.items())}


def _untried(
    tried: set[tuple[int, bytes]],
    sketches: Sequence[Sketch],
    wanted: int,
    rng: np.random.Generator,
) -> dict[int, IntArray]:
    """Draw some configs [n, D] by sketch, none of them drawn before; empty when none is found."""
    for _ in range(_DRAWS):
        found: dict[int, list[IntArray]] = {}
        for index in rng.integers(len(sketches), size=wanted).tolist():
            try:
                (config,) = sketches[index].sample(1, rng)
            except SparseSpace:  # of the others there may be more
                continue
            if (index, config.tobytes()) not in tried:
                tried.add((index, config.tobytes()))
                found.setdefault(index, []).append(config)
        if found:
            return {index: np.stack(configs) for index, configs in sorted(found.items())}
    return {}


def _measured(
    sketch: Sketch, configs: IntArray, builder: Any, runner: Any
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Which configs [n] become schedules, bool [n], and the seconds [m] that these take."""
    schedules = sketch.schedules(configs)
    programs = [one for one in schedules if not isinstance(one, InvalidSchedule)]
    made = np.array([not isinstance(one, InvalidSchedule) for one in schedules], dtype=bool)
    if not programs:
        return made, np.empty(0)
    return made, measure_schedules(programs, sketch.design.target, builder, runner)


def measure_schedules(
    schedules: Sequence[Schedule], target: Target, builder: Any, runner: Any
) -> FloatArray:
    """Build and time schedules [n]: seconds [n], ``inf`` for those that fail."""
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo

    from mschedx.measure.candidates import build_all, run_all

    built = build_all([schedule.mod for schedule in schedules], target, builder)
    arguments = [ArgInfo.from_entry_func(one.mod, remove_preproc=True) for one in schedules]
    ran = run_all(built, arguments, target, runner)
    return np.array([latency_s(result) for result in ran], dtype=np.float64)
