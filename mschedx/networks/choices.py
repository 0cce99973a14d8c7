"""Which schedule each task of a network gets: its fastest record, or the best ranked config."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import tvm
from tvm.target import Target
from tvm_ffi.serialization import from_json_graph_str, to_json_graph_str

from mschedx.collector import without_collections
from mschedx.error_text import first_line
from mschedx.measure.pool import Job, PoolConfig, carry_out, start, total_memory_bytes
from mschedx.measure.reference import quick
from mschedx.record.contents import Contents
from mschedx.record.trials import Run, run_of, workload_number
from mschedx.record.work_dir import WorkDir
from mschedx.told import listening, pass_on
from mschedx.winner import choose_winner

from .tasks import NetworkTask

if TYPE_CHECKING:
    from mschedx.measure.processes import JobOutcome


class Origin(StrEnum):
    """Where a schedule comes from."""

    TUNED = "tuned"
    RANKED = "ranked"
    UNSCHEDULED = "unscheduled"


@dataclass(frozen=True)
class Choice:
    """The program that a task becomes.

    Parameters
    ----------
    task : NetworkTask
    mod : IRModule
        Scheduled; its function is "main".
    origin : Origin
    latency_s : float
        Measured where it is tuned, predicted where it is ranked; inf where nothing is known.
    trials : int
        Measured in the work_dir.
    why : str
        Why it is not tuned; empty where it is.
    record : list or None
        Of a tuned program, as the database's file keeps it; None for others.
    """

    task: NetworkTask
    mod: tvm.IRModule
    origin: Origin
    latency_s: float
    trials: int = 0
    why: str = ""
    record: list[Any] | None = None


def tuned_choice(
    task: NetworkTask, contents: Contents, work_dir: WorkDir, target: Target, *, verify: bool
) -> tuple[Choice | None, list[str]]:
    """The fastest record of a task, and what there is to say about others; None where none ran.

    Parameters
    ----------
    task : NetworkTask
    contents : Contents
        Of the work_dir, now.
    work_dir : WorkDir
    target : Target
    verify : bool
        Compare its output with the unscheduled function's, and disqualify what differs.
    """
    run = recorded(work_dir, contents, task)
    if run is None:
        return None, []
    winner, notes = choose_winner(run, task.mod, target, work_dir, verify=verify)
    if winner is None:
        return None, notes
    latency_s = winner.trial.latency_s or math.inf
    if winner.trial.unscheduled:
        origin, record, why = Origin.UNSCHEDULED, None, _why_as_it_is(run)
    else:
        origin, record, why = Origin.TUNED, run.records[winner.trial.record], ""
    mod, trials = winner.schedule.mod, len(run.trials)
    return Choice(task, mod, origin, latency_s, trials, why, record), notes


def _why_as_it_is(run: Run) -> str:
    """Why the function as it is won; whoever measured it knew more of the first reason."""
    scheduled = sum(not trial.unscheduled for trial in run.trials)
    if not scheduled:
        return "nothing of its design spaces could be searched"
    return f"none of {scheduled} scheduled programs that were measured is faster"


def unscheduled_choice(task: NetworkTask, why: str) -> Choice:
    """The function as it is, for a task that nothing is known of."""
    return Choice(task, quick(task.mod), Origin.UNSCHEDULED, math.inf, why=why)


def recorded(work_dir: WorkDir, contents: Contents, task: NetworkTask) -> Run | None:
    """What a work_dir of these contents knows of a task; None if it is new there."""
    from tvm.s_tir.meta_schedule.database import Workload

    number = workload_number(contents, Workload(task.mod).as_json()[0])
    return None if number is None else run_of(work_dir.path, contents, number)


def start_ranking() -> None:
    """Start the process that those which rank are forked from, in the background.

    It imports what ranking needs, once for all of them; `ranked_choices` is then `prepared`.
    """
    start(_initializer())


def _initializer() -> bytes:
    import cloudpickle

    return cloudpickle.dumps(_import_ranking)


def _import_ranking() -> None:
    import mschedx.ranking
    import mschedx.space  # noqa: F401


def ranked_choices(
    tasks: Sequence[NetworkTask],
    target: Target,
    why: str,
    *,
    space: Any = None,
    model: Any = None,
    seed: int = 0,
    cold: bool = False,
    prepared: bool = False,
    done: Callable[[], None] | None = None,
) -> list[Choice]:
    """The best ranked config of each task, with no measurement.

    With the default space and model, as many processes rank as there are cores; `prepared` ones
    where `start_ranking` was called. The default model in the default space is PSA, of weights
    that come from memory where these are ``cold``. ``done`` is called as each task ends. What is
    left out is told by task (`mschedx.told`).
    """
    if space is None and model is None and len(tasks) > 1:
        initializer = _initializer() if prepared else None
        found = _ranked_apart(tasks, target, seed, cold, initializer, done)
    else:
        found = []
        for task in tasks:
            found.append(_ranked_and_told(task.mod, target, space, model, seed, cold))
            if done is not None:
                done()
    for task, (_, told) in zip(tasks, found):
        for line in told:
            pass_on(f"{task.name}: {line}")
    return [_choice(task, answer, why) for task, (answer, _) in zip(tasks, found)]


def _ranked_and_told(
    mod: tvm.IRModule, target: Target, space: Any, model: Any, seed: int, cold: bool
) -> tuple[tuple[tvm.IRModule, float] | str, list[str]]:
    """As `_ranked`, and what was told meanwhile."""
    with listening() as told:
        return _ranked(mod, target, space, model, seed, cold), told


def _choice(task: NetworkTask, answer: tuple[Any, float] | str, why: str) -> Choice:
    if isinstance(answer, str):
        reason = f"{why}, and it cannot be ranked: {answer}"
        return unscheduled_choice(task, reason)
    return Choice(task, answer[0], Origin.RANKED, answer[1], why=why)


def _ranked(
    mod: tvm.IRModule, target: Target, space: Any, model: Any, seed: int, cold: bool
) -> tuple[tvm.IRModule, float] | str:
    """The scheduled module and its predicted seconds; a text where there is no valid config."""
    from mschedx.cost.psa import PSAModel
    from mschedx.cost.stand_ins import said_already
    from mschedx.ranking import rank

    if space is None and model is None:
        model = PSAModel(cold=cold)
    try:
        with said_already():  # by the network, once
            (best,) = rank(mod, target, 1, model=model, space=space, seed=seed)
        return best.mod, best.latency_s
    except Exception as error:  # whatever it is, the other tasks are ranked
        line = first_line(error)
        return line if isinstance(error, ValueError) else f"{type(error).__name__}: {line}"


def _ranked_apart(
    tasks: Sequence[NetworkTask],
    target: Target,
    seed: int,
    cold: bool,
    initializer: bytes | None,
    done: Callable[[], None] | None,
) -> list[tuple[tuple[tvm.IRModule, float] | str, list[str]]]:
    text = to_json_graph_str(target)
    # The largest first, so that no core is left with one at the end.
    jobs = [
        lambda mod=task.mod: Job(_rank_job, (to_json_graph_str(mod), text, seed, cold))
        for task in tasks
    ]
    found: list[tuple[tuple[tvm.IRModule, float] | str, list[str]]] = []
    for outcome in on_all_cores(jobs, initializer, done):
        answer, told = outcome.value if outcome.error is None else (outcome.error, [])
        read = answer if isinstance(answer, str) else (module_of(answer[0]), answer[1])
        found.append((read, told))
    return found


def on_all_cores(
    jobs: Sequence[Callable[[], Job]],
    initializer: bytes | None = None,
    done: Callable[[], None] | None = None,
) -> list[JobOutcome]:
    """Carry out what takes a core for some seconds each, as many at a time as there are cores.

    ``done`` is called as each ends.
    """
    from mschedx import compat

    cores = compat.available_cores()
    config = PoolConfig(
        workers=cores,
        cores=1,
        memory_bytes=max(1 << 30, total_memory_bytes() // (2 * cores)),
        initializer=initializer,
    )
    told = None if done is None else lambda number, outcome: done()
    return carry_out(config, list(jobs), kind="build", timeout_s=300.0, done=told)


def _rank_job(
    mod: str, target: str, seed: int, cold: bool
) -> tuple[tuple[str, float] | str, list[str]]:
    """In a worker process: rank one function; modules travel as TVM's JSON."""
    with without_collections():
        resolved = cast("Target", from_json_graph_str(target))
        answer, told = _ranked_and_told(module_of(mod), resolved, None, None, seed, cold)
        sent = answer if isinstance(answer, str) else (to_json_graph_str(answer[0]), answer[1])
        return sent, told


def module_of(text: str) -> tvm.IRModule:
    """As ``tvm.ir.load_json``, which rewrites the text in Python for older versions first."""
    return cast("tvm.IRModule", from_json_graph_str(text))
