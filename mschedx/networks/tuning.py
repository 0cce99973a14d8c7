"""``tune_model``: from a framework's network to a compiled one, in one call."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm.s_tir import meta_schedule as ms

from mschedx import compat
from mschedx.collector import without_collections
from mschedx.cost.stand_ins import notes_on_stand_in, said_already
from mschedx.hardware import kernel_cores, notes_on_machine
from mschedx.inputs import (
    check_seconds,
    check_seed,
    check_trials,
    normalize_target,
    require_device,
)
from mschedx.measure import start as start_workers
from mschedx.plan import Parts
from mschedx.process_state import interruptible
from mschedx.record.database import open_database
from mschedx.record.reading import open_to_read
from mschedx.record.work_dir import WorkDir, open_work_dir
from mschedx.recorder import SessionOutcome
from mschedx.search.gradients import require_gradients
from mschedx.session import alone, asks_for_records, filled, intrinsics_for, made

from .budget import Budget
from .choices import start_ranking
from .conclude import conclude
from .errors import NetworkError, reason_of
from .importing import Imported, import_network
from .job import NetworkJob
from .progress import NetworkProgress, make_network_progress
from .result import NetworkResult
from .rewrites.pipeline import fuse, simplify
from .running import SharedParts
from .session import Session, is_done, note_exhausted, run_session
from .tasks import Tasks, tasks_of

if TYPE_CHECKING:
    from tvm import IRModule
    from tvm.target import Target


def tune_model(
    model: Any,
    example_inputs: Any = None,
    target: Target | dict[str, Any] | str | None = None,
    *,
    trials_per_task: int = 16,
    work_dir: str | Path | None = None,
    seed: int = 0,
    space: Any = None,
    strategy: Any = None,
    cost_model: Any = None,
    builder: Any = None,
    runner: Any = None,
    progress: Any = True,
    timeout_s: float | None = None,
    fix_shapes: bool = False,
    prepack: bool | None = None,
    exact: bool = False,
    verify: bool = True,
) -> NetworkResult:
    """Tune a whole network.

    It is imported, rewritten for inference, fused and cut into tasks; equal tasks are one. Every
    task gets a floor of trials, then those that should save most of the network's time get more.
    A task for which nothing ran gets the best ranked config and is named in the result's notes.

    Parameters
    ----------
    model : nn.Module, ExportedProgram, Relax IRModule, or path of an ONNX file
    example_inputs : tensor, tuple or dict, optional
        As the model is called: a tuple of positional arguments (or a single tensor), or a dict of
        keyword arguments. An ``nn.Module`` needs them. Others have their shapes and dtypes compared
        with them, and are checked with their integers.
    target : Target | dict | str, optional
        Any form that TVM knows; this machine when None.
    trials_per_task : int
        Measurements per task in the work_dir when done, in the mean; those of earlier calls and of
        other networks with the same tasks count, of a task at most four times as many. The last
        round may exceed it by 7 in all, and every task gets half as many, whatever others have. 0:
        measure nothing; a task gets its fastest record in the work_dir, or its best ranked config
        where it has none. A work_dir that cannot be written, or that another process tunes into,
        is read as it is then.
    work_dir : str | Path, optional
        Where records go and are found again; a new temporary folder when None.
    seed : int
        Same seed, same candidates of a task's first round; what follows depends on measured
        latencies, and is the same as far as these are.
    space, strategy, cost_model, builder, runner : optional
        Whatever ``ms.tune_tasks`` takes, names included; when None mschedx's own,
        `mschedx.DraftVerify` and `mschedx.cost.HeronXGB` among them, or
        `mschedx.cost.FelixMLP` beside `mschedx.GradientDescent`. One cost model serves all
        tasks. The runner of our own times a task with all but its first argument out of the caches,
        where the network's weights are more than these hold.
    progress : bool | NetworkProgress
        Show what is done, and a table of the tasks while they are measured (plain lines when not on
        a terminal), or a display of one's own. What the result does later shows there, too.
    timeout_s : float, optional
        After this many seconds no further wave begins. A wave, a batch of each of up to eight
        tasks, is measured to its end, and the first one always is.
    fix_shapes : bool
        Give dynamic dimensions the sizes of the example inputs.
    prepack : bool, optional
        Let schedules choose the layout of constant weights, which is then made at compile time;
        on CPUs when None. Records with it and without are different tasks.
    exact : bool
        Leave out rewrites that round more than the network does as it is: Winograd's convolutions,
        which are off by up to ten times as much (:mod:`.rewrites.winograd`), and the products
        that third and fourth powers are written as.
    verify : bool
        Compare the network's output with the framework's. Where it differs, the records are
        checked one by one and wrong ones disqualified.

    Raises
    ------
    ValueError, TypeError
        For input that cannot be tuned; the message says what to pass instead.
    NetworkError, FileNotFoundError
        For a network that cannot be imported, and an ONNX file that is not there.
    IncompatibleVersion, MachineTrouble, OSError
        As `mschedx.tune`.
    """
    begin = time.perf_counter()
    if trials_per_task != 0:
        trials_per_task = check_trials(trials_per_task, "trials_per_task")
    if trials_per_task:
        require_gradients(strategy, cost_model)
    check_seconds("timeout_s", timeout_s)
    seed = check_seed(seed)
    resolved = normalize_target(target)
    compat.check_versions()
    if trials_per_task and runner is None:
        require_device(resolved)
    parts = Parts(
        space=space, strategy=strategy, cost_model=cost_model, builder=builder, runner=runner
    )
    _start_processes(trials_per_task, parts)
    prepack = resolved.kind.name == "llvm" if prepack is None else prepack
    with make_network_progress(progress) as display:
        how = {"prepack": prepack, "exact": exact, "own_space": parts.space is None}
        read = partial(_read, fix_shapes=fix_shapes, **how)
        imported, tasks = read(model, example_inputs, resolved, display)
        job = NetworkJob(
            imported=imported,
            fused=imported.mod,
            tasks=tasks,
            target=resolved,
            trials_per_task=trials_per_task,
            seed=seed,
            timeout_s=timeout_s,
            begin=begin,
            prepack=prepack,
            verify=verify,
            parts=parts,
            progress=progress,
        )
        folder = tempfile.mkdtemp(prefix="mschedx-") if work_dir is None else work_dir
        # Absolute, so that what is returned reads its records wherever the process goes.
        return _carried_out(job, Path(folder).absolute(), display)


def _read(
    model: Any,
    example_inputs: Any,
    target: Target,
    display: NetworkProgress,
    *,
    fix_shapes: bool,
    prepack: bool,
    exact: bool,
    own_space: bool,
) -> tuple[Imported, Tasks]:
    """Import a network, rewrite it for a target and cut it into tasks.

    Its module is the fused one: most weights have been laid out anew, and those of the import need
    not stay beside them.
    """
    with without_collections():
        if not isinstance(model, Imported):
            display.stage("reading the network")
        imported = import_network(model, example_inputs, fix_shapes=fix_shapes)
        display.stage("rewriting the network")
        fused = _fused(imported.mod, target, prepack=prepack, exact=exact, own_space=own_space)
        return replace(imported, mod=fused), tasks_of(fused, target)


def _carried_out(job: NetworkJob, folder: Path, display: NetworkProgress) -> NetworkResult:
    """Measure what the folder lacks, and choose for every task."""
    intrinsics = intrinsics_for(folder, job.target, job.parts.space)
    opening = open_work_dir if job.trials_per_task else open_to_read
    display.stage("reading the records")
    with intrinsics, opening(folder, job.target) as opened, said_already():
        said = notes_on_stand_in(job.target, job.parts.strategy, job.parts.cost_model)
        if job.trials_per_task and job.parts.runner is None:
            said = (*said, *notes_on_machine(job.target))
        for note in (*opened.notes, *said):
            display.note(note)
        _note_network(job, opened)
        outcome = _measured(job, opened, display)
        found = _concluded(job, opened, outcome, display)
        return replace(found, work_dir=folder, notes=(*said, *outcome.said, *found.notes))


def _concluded(
    job: NetworkJob, work_dir: WorkDir, outcome: SessionOutcome, display: NetworkProgress
) -> NetworkResult:
    """What `conclude` gives; after Ctrl-C meanwhile, what it gives of an interrupted session."""
    if outcome.interrupted:
        return conclude(job, work_dir, outcome, display)
    try:
        with interruptible(outcome.interrupt):
            return conclude(job, work_dir, outcome, display)
    except KeyboardInterrupt:
        outcome.interrupt()
    except Exception:  # of which some libraries make another error
        if not outcome.interrupted:
            raise
    note = "interrupted after measuring: the network's output was not compared"
    display.note(note)
    found = conclude(job, work_dir, outcome, display)
    return replace(found, notes=(*found.notes, note))


def _start_processes(trials_per_task: int, parts: Parts) -> None:
    """Start what ranks or measures: it imports TVM while the network is read."""
    if not trials_per_task and parts.space is None and parts.cost_model is None:
        start_ranking()
    elif trials_per_task and (parts.builder is None or parts.runner is None):
        start_workers()


def _fused(
    mod: IRModule, target: Target, *, prepack: bool, exact: bool, own_space: bool
) -> IRModule:
    """Rewrite an imported network for a target and fuse it, for mschedx's space or another.

    Raises
    ------
    NetworkError
        For operators that Relax has and TVM cannot compile.
    """
    on_cpu = target.kind.name == "llvm"
    try:
        simple = simplify(
            mod,
            channels_last=on_cpu,
            winograd=on_cpu and not exact,
            chunked=on_cpu and own_space,
            exact=exact,
        )
        return fuse(simple, target, prepack=prepack)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:  # TVM's, of many kinds
        raise NetworkError(f"TVM cannot compile this network: {reason_of(error)}") from error


def _note_network(job: NetworkJob, work_dir: WorkDir) -> None:
    """Keep in the manifest how often the network calls each workload, for reports.

    Another network of the name, as of two ``nn.Sequential``, keeps its entry: this one is numbered.
    """
    calls = {
        str(ms.database.Workload(task.mod).as_json()[0]): task.weight for task in job.tasks.tunable
    }
    if not calls:
        return
    known, name = work_dir.manifest().get("networks", {}), job.imported.name
    names = (name if number == 1 else f"{name} ({number})" for number in count(1))
    free = next(one for one in names if known.get(one, calls) == calls)
    work_dir.write_manifest(networks={**known, free: calls})


def _measured(job: NetworkJob, work_dir: WorkDir, display: NetworkProgress) -> SessionOutcome:
    """Measure what is missing."""
    if not job.trials_per_task or not job.tasks.tunable:
        return SessionOutcome()
    known = is_done(job.tasks.tunable, job.trials_per_task, work_dir)
    if known is not None:
        display.note(f"all {known} trials are in the work_dir already")
        return SessionOutcome()
    session = Session(
        tasks=job.tasks.tunable,
        target=job.target,
        trials_per_task=job.trials_per_task,
        seed=job.seed,
        timeout_s=job.timeout_s,
        begin=job.begin,
        names=job.parts.names(),
        cold=job.cold and None in (job.parts.strategy, job.parts.runner),
    )
    reads = asks_for_records(job.parts.strategy)
    with open_database(work_dir, read=reads) as database:
        running, outcome = run_session(session, _parts(job, database), work_dir, display)
    if not outcome.interrupted:
        note_exhausted(running, work_dir)
    outcome.said += [
        f"{one.task.name}: {one.why_ended}" for one in running if one.why_ended is not None
    ]
    standings = [one.standing for one in running]
    done = sum(one.trials for one in standings)
    planned = Budget(job.trials_per_task, len(standings)).planned(standings)
    if outcome.timed_out and done < planned:
        outcome.said.append(f"time was up after {done} of {planned} trials")
    for note in outcome.said:
        display.note(note)
    return outcome


def _parts(job: NetworkJob, database: ms.database.JSONDatabase) -> SharedParts:
    """What the job's tasks are searched and measured with."""
    runner, strategy = partial(_own_runner, job), partial(_own_strategy, job)
    parts = alone(filled(job.parts, job.target, runner, strategy))
    return SharedParts(
        space=parts.space,
        strategy=parts.strategy,
        cost_model=made(ms.CostModel, parts.cost_model),
        builder=made(ms.Builder, parts.builder),
        runner=made(ms.Runner, parts.runner),
        database=database,
    )


def _own_strategy(job: NetworkJob) -> Any:
    from mschedx.cost import PSA
    from mschedx.search import DraftVerify

    return DraftVerify(PSA(cold=job.cold))


def _own_runner(job: NetworkJob) -> Any:
    from mschedx.measure import LocalRunner, MeasureConfig

    config = MeasureConfig(flush_cache=job.cold)
    return LocalRunner(config=config, cores=kernel_cores(job.target))
